import type { StrategyName } from "iospan";
import type { Rig } from "./rig.js";

/** The interface of the kernel's that a strategy goes through. */
export type Mechanism = "containers" | "iommufd";

const MECHANISMS: Readonly<Record<StrategyName, Mechanism>> = {
  mirrored: "containers",
  "shared-container": "containers",
  iommufd: "iommufd",
  "single-domain": "iommufd",
};

/** Which one a strategy's is. */
export const mechanismOf = (strategy: StrategyName): Mechanism => MECHANISMS[strategy];

/** Whether `first` and `second` are in containers of their own, so that what is mapped is mapped in each. */
export function isMirrored({ strategy, oneIommu = false }: Rig): boolean {
  return strategy === "mirrored" && !oneIommu;
}

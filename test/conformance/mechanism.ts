import { iommufdStrategyNames, type StrategyName } from "iospan";
import type { Rig } from "./rig.js";

/** The interface of the kernel's that a strategy goes through. */
export type Mechanism = "containers" | "iommufd";

/** Which one a strategy's is. */
export function mechanismOf(strategy: StrategyName): Mechanism {
  return iommufdStrategyNames.some((name) => name === strategy) ? "iommufd" : "containers";
}

/** Whether `first` and `second` are in containers of their own, so that what is mapped is mapped in each. */
export function isMirrored({ strategy, oneIommu = false }: Rig): boolean {
  return strategy === "mirrored" && !oneIommu;
}

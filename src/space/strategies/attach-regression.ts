import { IospanError } from "../../errors.js";
import { readAttribute } from "../../machine/sysfs.js";
import type { Syscalls } from "../../syscalls/syscalls.js";
import type { StrategyName } from "./strategy.js";

/** A device that is to join others. */
export interface Joining {
  readonly strategy: StrategyName;
  readonly device: string;
  readonly iommu: string;
  /** The IOMMUs of those that are there. */
  readonly others: readonly string[];
}

/** Newer kernels also refuse one domain for two SMMUs, aloud. */
const MIRRORED = 'open the space with { strategy: "mirrored" }';

/**
 * Linux 6.14 to 6.15.2 answers success to attaching a device to the domain of another SMMUv3, and does not attach it
 * (drivers/iommu/arm/arm-smmu-v3, broken by 48e7b8e284e5, mended by be5a2d3f8f97). In one container or iommufd everything
 * seems to work then, and the second device's DMA is blocked without a word: nothing that the kernel can be asked tells.
 * @throws IospanError `ERR_IOSPAN_ATTACH_REFUSED` where the device would join the others so.
 */
export function refuseSilentAttach(syscalls: Syscalls, { strategy, device, iommu, others }: Joining): void {
  const isSmmu = (name: string) => name.startsWith("smmu3.");
  const joinsAnother = isSmmu(iommu) && others.some((other) => isSmmu(other) && other !== iommu);
  if (!joinsAnother) return;
  const release = readAttribute({ syscalls }, "/proc/sys/kernel/osrelease") ?? "";
  if (!attachesNowhere(release)) return;
  throw new IospanError(
    "ERR_IOSPAN_ATTACH_REFUSED",
    `Linux ${release} would say that ${device} joined the devices behind ${others.join(", ")}, and block its DMA`,
    { device, iommu, hint: strategy === "single-domain" ? MIRRORED : `${MIRRORED}, or use Linux 6.15.3 or newer` },
  );
}

function attachesNowhere(release: string): boolean {
  const [, major, minor, patch] = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release) ?? [];
  if (Number(major) !== 6) return false;
  return Number(minor) === 14 || (Number(minor) === 15 && Number(patch ?? 0) <= 2);
}

import type { IommuKind } from "./topology.js";

/**
 * What Linux calls an instance in /sys/class/iommu, where that follows from its address (drivers/iommu/arm, the calls of
 * iommu_device_sysfs_add); else what the source calls it.
 */
export function iommuName(kind: IommuKind, address: bigint | undefined, otherwise: string): string {
  if (address === undefined) return otherwise;
  const digits = `0x${address.toString(16).padStart(16, "0")}`;
  if (kind === "arm,smmu-v3") return `smmu3.${digits}`;
  return kind === "arm,smmu" ? `smmu.${digits}` : otherwise;
}

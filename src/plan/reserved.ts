import type { IovaRange } from "../iova.js";
import { iova } from "../iova.js";
import type { ReservedRegion } from "../machine/machine.js";
import type { IommuKind } from "../topology/topology.js";
import type { Subject } from "./subject.js";
import type { SurveyIndex } from "./survey-index.js";

/** Drivers that always keep a window for the addresses of doorbells: 0x8000000, 1 MiB (MSI_IOVA_BASE in each). */
const MSI_WINDOW: ReservedRegion = { start: 0x800_0000n, end: 0x80f_ffffn, type: "msi" };
const WITH_MSI_WINDOW: readonly IommuKind[] = ["arm,smmu-v3", "arm,smmu"];

/**
 * Address ranges that are not for mappings: those of the group, where there is one, else those that firmware keeps for the
 * device, and what the IOMMU's driver adds.
 */
export function reservedOf({ device, iommus }: Subject, index: SurveyIndex): readonly ReservedRegion[] {
  const group = typeof device.group === "number" ? index.group(device.group) : undefined;
  if (group !== undefined) return group.reserved;
  return iommus.some(({ kind }) => WITH_MSI_WINDOW.includes(kind)) ? [...device.reserved, MSI_WINDOW] : device.reserved;
}

/**
 * A range that the device must have mapped one to one at all times, which VFIO cannot promise: every attempt to take the device
 * is refused (iommu.c, __iommu_device_set_domain).
 */
export function requiredMapping(subject: Subject, index: SurveyIndex): ReservedRegion | undefined {
  return reservedOf(subject, index).find(({ type }) => type === "direct");
}

/**
 * The ranges that mappings must keep out of. Those that firmware needs only until a driver takes over are free again
 * (vfio_iommu_type1.c, vfio_iommu_resv_exclude; iommufd/io_pagetable.c, iopt_table_enforce_dev_resv_regions).
 */
export function forbidden(regions: readonly ReservedRegion[]): readonly IovaRange[] {
  return regions
    .filter(({ type }) => type !== "direct-relaxable")
    .map(({ start, end }) => ({ start: iova(start), end: iova(end) }));
}

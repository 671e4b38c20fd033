import type { IovaRange } from "../iova.js";
import { iova } from "../iova.js";
import type { ReservedRegion } from "../machine/machine.js";
import type { IommuKind } from "../topology/topology.js";
import type { Subject } from "./subject.js";
import type { SurveyIndex } from "./survey-index.js";

/** A window for the addresses of doorbells: 1 MiB (MSI_IOVA_BASE in arm-smmu-v3.h, arm-smmu.c and virtio-iommu.c). */
const SOFTWARE_MSI: ReservedRegion = { start: 0x800_0000n, end: 0x80f_ffffn, type: "msi" };
/** Where x86 takes interrupts (intel/iommu.h, IOAPIC_RANGE_START; amd/iommu.c, MSI_RANGE_START). */
const X86_MSI: ReservedRegion = { start: 0xfee0_0000n, end: 0xfeef_ffffn, type: "msi" };
/** HyperTransport's; units that can do without are not told apart here (amd/iommu.c, HT_RANGE_START). */
const HYPER_TRANSPORT: ReservedRegion = { start: 0xfd_0000_0000n, end: 0xff_ffff_ffffn, type: "reserved" };

/** What each driver keeps whatever firmware says (its get_resv_regions); those that are not here keep nothing that is known. */
const OF_DRIVERS: Readonly<Partial<Record<IommuKind, readonly ReservedRegion[]>>> = {
  "arm,smmu-v3": [SOFTWARE_MSI],
  "arm,smmu": [SOFTWARE_MSI],
  virtio: [SOFTWARE_MSI],
  intel: [X86_MSI],
  amd: [X86_MSI, HYPER_TRANSPORT],
};

/**
 * Address ranges that are not for mappings: those of the group, where there is one, else those that firmware keeps for the
 * device, and what the IOMMU's driver adds.
 */
export function reservedOf({ device, iommus }: Subject, index: SurveyIndex): readonly ReservedRegion[] {
  const group = typeof device.group === "number" ? index.group(device.group) : undefined;
  if (group !== undefined) return group.reserved;
  const added = new Set(iommus.flatMap(({ kind }) => ofDriver(kind, device.reserved)));
  return [...device.reserved, ...added];
}

/** virtio-iommu.c, viommu_get_resv_regions: it has no window of its own where the machine's has one. */
function ofDriver(kind: IommuKind, known: readonly ReservedRegion[]): readonly ReservedRegion[] {
  if (kind === "virtio" && known.some(({ type }) => type === "msi")) return [];
  return OF_DRIVERS[kind] ?? [];
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

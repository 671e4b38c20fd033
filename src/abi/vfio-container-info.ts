import { malformedAnswer } from "../errors.js";
import { hex, type IovaRange, iova } from "../iova.js";
import { type Capability, capabilityHeader, expectCapability } from "./capability.js";
import { type Decoded, decodeArray, struct } from "./codec.js";
import { argsz, u32, u64 } from "./fields.js";
import { flags, names } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** Flags of {@link type1Info} (include/uapi/linux/vfio.h): which of its fields mean something. */
export const VFIO_IOMMU_INFO = names("VFIO_IOMMU_INFO_*", { PGSIZES: 1 << 0, CAPS: 1 << 1 });

/**
 * `struct vfio_iommu_type1_info` (include/uapi/linux/vfio.h). `iova_pgsizes` is a bitmap of sizes. When `argsz` is too small for the
 * capabilities the kernel writes there how much it needs, and 0 into `cap_offset`.
 */
export const type1Info = struct("vfio_iommu_type1_info", {
  argsz,
  flags: flags(VFIO_IOMMU_INFO),
  iova_pgsizes: u64,
  cap_offset: u32,
  pad: u32,
});

/** The capabilities behind {@link type1Info} (include/uapi/linux/vfio.h). */
export const VFIO_IOMMU_TYPE1_INFO = names("VFIO_IOMMU_TYPE1_INFO_*", {
  CAP_IOVA_RANGE: 1,
  CAP_MIGRATION: 2,
  DMA_AVAIL: 3,
});

/** `struct vfio_iova_range` (include/uapi/linux/vfio.h); `end` is inside. */
export const iovaRange = struct("vfio_iova_range", { start: u64, end: u64 });

/** `struct vfio_iommu_type1_info_cap_iova_range` (include/uapi/linux/vfio.h); `nr_iovas` {@link iovaRange}s follow. */
export const iovaRangeCapability = struct(
  "vfio_iommu_type1_info_cap_iova_range",
  {
    header: capabilityHeader,
    nr_iovas: u32,
    reserved: u32,
  },
  { name: "iova_ranges", element: iovaRange, follows: ({ nr_iovas }) => ({ element: iovaRange, count: nr_iovas }) },
);

/** `struct vfio_iommu_type1_info_cap_migration` (include/uapi/linux/vfio.h). */
export const migrationCapability = struct("vfio_iommu_type1_info_cap_migration", {
  header: capabilityHeader,
  flags: u32,
  pgsize_bitmap: u64,
  max_dirty_bitmap_size: u64,
});

/** `struct vfio_iommu_type1_info_dma_avail` (include/uapi/linux/vfio.h). */
export const dmaAvailCapability = struct("vfio_iommu_type1_info_dma_avail", { header: capabilityHeader, avail: u32 });

/** Asks a container for its {@link type1Info} (include/uapi/linux/vfio.h). On a device the same number is another call. */
export const VFIO_IOMMU_GET_INFO: Ioctl = ioctl("VFIO_IOMMU_GET_INFO", 0x70, type1Info, {
  capabilities: {
    ids: VFIO_IOMMU_TYPE1_INFO,
    layouts: {
      [VFIO_IOMMU_TYPE1_INFO.CAP_IOVA_RANGE]: iovaRangeCapability,
      [VFIO_IOMMU_TYPE1_INFO.CAP_MIGRATION]: migrationCapability,
      [VFIO_IOMMU_TYPE1_INFO.DMA_AVAIL]: dmaAvailCapability,
    },
  },
});

/**
 * The ranges that CAP_IOVA_RANGE allows for mappings.
 * @throws IospanError `ERR_IOSPAN_MALFORMED_ANSWER` for more ranges than the answer holds, or one that ends before it starts.
 */
export function iovaRanges(capability: Capability): readonly IovaRange[] {
  expectCapability(capability, VFIO_IOMMU_TYPE1_INFO.CAP_IOVA_RANGE, 1);
  const { nr_iovas } = iovaRangeCapability.decode(capability.bytes);
  return decodeArray(iovaRange, capability.bytes, iovaRangeCapability.size, nr_iovas).map(toIovaRange);
}

function toIovaRange({ start, end }: Decoded<typeof iovaRange>): IovaRange {
  if (end >= start) return { start: iova(start), end: iova(end) };
  const message = `the kernel's IOVA range ends at ${hex(end)}, before its start ${hex(start)}`;
  throw malformedAnswer(message);
}

/** What CAP_MIGRATION says: page sizes for dirty bitmaps, and the largest bitmap in bytes. */
export function migrationLimits(capability: Capability): Decoded<typeof migrationCapability> {
  expectCapability(capability, VFIO_IOMMU_TYPE1_INFO.CAP_MIGRATION, 1);
  return migrationCapability.decode(capability.bytes);
}

/** How many more mappings DMA_AVAIL says the container takes. */
export function availableMappings(capability: Capability): number {
  expectCapability(capability, VFIO_IOMMU_TYPE1_INFO.DMA_AVAIL, 1);
  return dmaAvailCapability.decode(capability.bytes).avail;
}

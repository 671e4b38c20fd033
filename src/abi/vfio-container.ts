import { struct } from "./codec.js";
import { argsz, u8, u64 } from "./fields.js";
import { flags, names } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** What VFIO_GET_API_VERSION answers (include/uapi/linux/vfio.h). */
export const VFIO_API_VERSION = 0;

/**
 * The IOMMU types for VFIO_SET_IOMMU and, with them in one number space, the extensions for VFIO_CHECK_EXTENSION
 * (include/uapi/linux/vfio.h). 6 was TYPE1_NESTING and means nothing any more.
 */
export const VFIO_EXTENSION = names("VFIO_*", {
  TYPE1_IOMMU: 1,
  SPAPR_TCE_IOMMU: 2,
  TYPE1v2_IOMMU: 3,
  DMA_CC_IOMMU: 4,
  EEH: 5,
  SPAPR_TCE_v2_IOMMU: 7,
  NOIOMMU_IOMMU: 8,
  UNMAP_ALL: 9,
  UPDATE_VADDR: 10,
});

/** Flags of {@link dmaMap} (include/uapi/linux/vfio.h). READ and WRITE are the device's; VADDR only moves the memory. */
export const VFIO_DMA_MAP_FLAG = names("VFIO_DMA_MAP_FLAG_*", { READ: 1 << 0, WRITE: 1 << 1, VADDR: 1 << 2 });

/** `struct vfio_iommu_type1_dma_map` (include/uapi/linux/vfio.h). */
export const dmaMap = struct("vfio_iommu_type1_dma_map", {
  argsz,
  flags: flags(VFIO_DMA_MAP_FLAG),
  vaddr: u64,
  iova: u64,
  size: u64,
});

/** Flags of {@link dmaUnmap} (include/uapi/linux/vfio.h). */
export const VFIO_DMA_UNMAP_FLAG = names("VFIO_DMA_UNMAP_FLAG_*", {
  GET_DIRTY_BITMAP: 1 << 0,
  ALL: 1 << 1,
  VADDR: 1 << 2,
});

/**
 * `struct vfio_iommu_type1_dma_unmap` (include/uapi/linux/vfio.h). The kernel writes back in `size` how much it unmapped.
 * With GET_DIRTY_BITMAP a {@link bitmap} follows.
 */
export const dmaUnmap = struct(
  "vfio_iommu_type1_dma_unmap",
  {
    argsz,
    flags: flags(VFIO_DMA_UNMAP_FLAG),
    iova: u64,
    size: u64,
  },
  {
    name: "data",
    element: u8,
    follows: ({ flags }) => (flags & VFIO_DMA_UNMAP_FLAG.GET_DIRTY_BITMAP ? { element: bitmap } : undefined),
  },
);

/** `struct vfio_bitmap` (include/uapi/linux/vfio.h): `data` points to `size` bytes, one bit for each page of `pgsize`. */
export const bitmap = struct("vfio_bitmap", { pgsize: u64, size: u64, data: u64 });

/** Flags of {@link dirtyBitmap}, one at a time (include/uapi/linux/vfio.h). */
export const VFIO_IOMMU_DIRTY_PAGES_FLAG = names("VFIO_IOMMU_DIRTY_PAGES_FLAG_*", {
  START: 1 << 0,
  STOP: 1 << 1,
  GET_BITMAP: 1 << 2,
});

/** `struct vfio_iommu_type1_dirty_bitmap` (include/uapi/linux/vfio.h). With GET_BITMAP a {@link dirtyBitmapGet} follows. */
export const dirtyBitmap = struct(
  "vfio_iommu_type1_dirty_bitmap",
  {
    argsz,
    flags: flags(VFIO_IOMMU_DIRTY_PAGES_FLAG),
  },
  {
    name: "data",
    element: u8,
    follows: ({ flags }) => (flags & VFIO_IOMMU_DIRTY_PAGES_FLAG.GET_BITMAP ? { element: dirtyBitmapGet } : undefined),
  },
);

/** `struct vfio_iommu_type1_dirty_bitmap_get` (include/uapi/linux/vfio.h). */
export const dirtyBitmapGet = struct("vfio_iommu_type1_dirty_bitmap_get", { iova: u64, size: u64, bitmap });

/** Answers {@link VFIO_API_VERSION} (include/uapi/linux/vfio.h). */
export const VFIO_GET_API_VERSION: Ioctl = ioctl("VFIO_GET_API_VERSION", 0x64, "none");

/** Answers whether a {@link VFIO_EXTENSION} is there, which may depend on the groups attached (include/uapi/linux/vfio.h). */
export const VFIO_CHECK_EXTENSION: Ioctl = ioctl("VFIO_CHECK_EXTENSION", 0x65, "value", { values: VFIO_EXTENSION });

/** Chooses the container's IOMMU type; needs a group in it (include/uapi/linux/vfio.h). */
export const VFIO_SET_IOMMU: Ioctl = ioctl("VFIO_SET_IOMMU", 0x66, "value", { values: VFIO_EXTENSION });

/** Maps process memory for the devices of the container (include/uapi/linux/vfio.h). */
export const VFIO_IOMMU_MAP_DMA: Ioctl = ioctl("VFIO_IOMMU_MAP_DMA", 0x71, dmaMap);

/** Unmaps a range that covers whole mappings (include/uapi/linux/vfio.h). */
export const VFIO_IOMMU_UNMAP_DMA: Ioctl = ioctl("VFIO_IOMMU_UNMAP_DMA", 0x72, dmaUnmap);

/** Starts, stops or reads the record of pages devices may have written (include/uapi/linux/vfio.h). */
export const VFIO_IOMMU_DIRTY_PAGES: Ioctl = ioctl("VFIO_IOMMU_DIRTY_PAGES", 0x75, dirtyBitmap);

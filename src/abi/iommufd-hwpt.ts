import { struct } from "./codec.js";
import { argsz, u32, u64 } from "./fields.js";
import { flags, names, oneOf } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** Flags of {@link hwptAlloc} (include/uapi/linux/iommufd.h). FAULT_ID_VALID: `fault_id` means something. */
export const IOMMU_HWPT = names("IOMMU_HWPT_*", {
  ALLOC_NEST_PARENT: 1 << 0,
  ALLOC_DIRTY_TRACKING: 1 << 1,
  FAULT_ID_VALID: 1 << 2,
  ALLOC_PASID: 1 << 3,
});

/** What `data_uptr` of {@link hwptAlloc} points to (include/uapi/linux/iommufd.h). */
export const IOMMU_HWPT_DATA = names("IOMMU_HWPT_DATA_*", { NONE: 0, VTD_S1: 1, ARM_SMMUV3: 2, AMD_GUEST: 3 });

/**
 * `struct iommu_hwpt_alloc` (include/uapi/linux/iommufd.h). `pt_id` is the IOAS to translate, or for a nested table its parent.
 * The kernel also takes it cut off after `__reserved`.
 */
export const hwptAlloc = struct("iommu_hwpt_alloc", {
  size: argsz,
  flags: flags(IOMMU_HWPT),
  dev_id: u32,
  pt_id: u32,
  out_hwpt_id: u32,
  __reserved: u32,
  data_type: oneOf(IOMMU_HWPT_DATA),
  data_len: u32,
  data_uptr: u64,
  fault_id: u32,
  __reserved2: u32,
});

/** Flags of {@link hwptSetDirtyTracking} (include/uapi/linux/iommufd.h); without ENABLE it ends. */
export const IOMMU_HWPT_DIRTY_TRACKING = names("IOMMU_HWPT_DIRTY_TRACKING_*", { ENABLE: 1 << 0 });

/** `struct iommu_hwpt_set_dirty_tracking` (include/uapi/linux/iommufd.h). */
export const hwptSetDirtyTracking = struct("iommu_hwpt_set_dirty_tracking", {
  size: argsz,
  flags: flags(IOMMU_HWPT_DIRTY_TRACKING),
  hwpt_id: u32,
  __reserved: u32,
});

/** Flags of {@link hwptGetDirtyBitmap} (include/uapi/linux/iommufd.h). */
export const IOMMU_HWPT_GET_DIRTY_BITMAP_FLAG = names("IOMMU_HWPT_GET_DIRTY_BITMAP_*", { NO_CLEAR: 1 << 0 });

/** `struct iommu_hwpt_get_dirty_bitmap` (include/uapi/linux/iommufd.h); `data` points to one bit per `page_size`. */
export const hwptGetDirtyBitmap = struct("iommu_hwpt_get_dirty_bitmap", {
  size: argsz,
  hwpt_id: u32,
  flags: flags(IOMMU_HWPT_GET_DIRTY_BITMAP_FLAG),
  __reserved: u32,
  iova: u64,
  length: u64,
  page_size: u64,
  data: u64,
});

/** What `data_uptr` of {@link hwptInvalidate} points to (include/uapi/linux/iommufd.h). */
export const IOMMU_INVALIDATE_DATA = names("IOMMU_*", {
  HWPT_INVALIDATE_DATA_VTD_S1: 0,
  VIOMMU_INVALIDATE_DATA_ARM_SMMUV3: 1,
});

/**
 * `struct iommu_hwpt_invalidate` (include/uapi/linux/iommufd.h). `hwpt_id` is a nested table or a virtual IOMMU; the kernel writes
 * back in `entry_num` how many of the requests it has done.
 */
export const hwptInvalidate = struct("iommu_hwpt_invalidate", {
  size: argsz,
  hwpt_id: u32,
  data_uptr: u64,
  data_type: oneOf(IOMMU_INVALIDATE_DATA),
  entry_len: u32,
  entry_num: u32,
  __reserved: u32,
});

/** Makes a page table for a device's IOMMU (include/uapi/linux/iommufd.h). */
export const IOMMU_HWPT_ALLOC: Ioctl = ioctl("IOMMU_HWPT_ALLOC", 0x89, hwptAlloc);

/** Starts or ends the hardware's record of pages written (include/uapi/linux/iommufd.h). */
export const IOMMU_HWPT_SET_DIRTY_TRACKING: Ioctl = ioctl("IOMMU_HWPT_SET_DIRTY_TRACKING", 0x8b, hwptSetDirtyTracking);

/** Reads that record, and clears it unless told not to (include/uapi/linux/iommufd.h). */
export const IOMMU_HWPT_GET_DIRTY_BITMAP: Ioctl = ioctl("IOMMU_HWPT_GET_DIRTY_BITMAP", 0x8c, hwptGetDirtyBitmap);

/** Invalidates what an IOMMU remembers of a nested page table (include/uapi/linux/iommufd.h). */
export const IOMMU_HWPT_INVALIDATE: Ioctl = ioctl("IOMMU_HWPT_INVALIDATE", 0x8d, hwptInvalidate);

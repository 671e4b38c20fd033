import { struct } from "./codec.js";
import { argsz, u16, u32, u64 } from "./fields.js";
import { names, oneOf } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** `struct iommu_destroy` (include/uapi/linux/iommufd.h). */
export const destroy = struct("iommu_destroy", { size: argsz, id: u32 });

/**
 * Options of an iommufd (include/uapi/linux/iommufd.h). RLIMIT_MODE (object 0): 0 charges pinned memory to the user, 1 to the
 * process. HUGE_PAGES (an IOAS): 0 maps everything in the smallest pages.
 */
export const IOMMU_OPTION_ID = names("IOMMU_OPTION_*", { RLIMIT_MODE: 0, HUGE_PAGES: 1 });

/** What to do with an option (include/uapi/linux/iommufd.h). */
export const IOMMU_OPTION_OP = names("IOMMU_OPTION_OP_*", { SET: 0, GET: 1 });

/** `struct iommu_option` (include/uapi/linux/iommufd.h). */
export const option = struct("iommu_option", {
  size: argsz,
  option_id: oneOf(IOMMU_OPTION_ID),
  op: oneOf(IOMMU_OPTION_OP, u16),
  __reserved: u16,
  object_id: u32,
  val64: u64,
});

/** Destroys an object that nothing uses, by its id (include/uapi/linux/iommufd.h). */
export const IOMMU_DESTROY: Ioctl = ioctl("IOMMU_DESTROY", 0x80, destroy);

/** Reads or sets an option of an iommufd or of one of its objects (include/uapi/linux/iommufd.h). */
export const IOMMU_OPTION: Ioctl = ioctl("IOMMU_OPTION", 0x87, option);

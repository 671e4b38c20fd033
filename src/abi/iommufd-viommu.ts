import { struct } from "./codec.js";
import { argsz, u32, u64 } from "./fields.js";
import { flags, names, oneOf } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** Kinds of virtual IOMMUs (include/uapi/linux/iommufd.h). */
export const IOMMU_VIOMMU_TYPE = names("IOMMU_VIOMMU_TYPE_*", { DEFAULT: 0, ARM_SMMUV3: 1, TEGRA241_CMDQV: 2 });

/** `struct iommu_viommu_alloc` (include/uapi/linux/iommufd.h). `hwpt_id` is a page table made with ALLOC_NEST_PARENT. */
export const viommuAlloc = struct("iommu_viommu_alloc", {
  size: argsz,
  flags: u32,
  type: oneOf(IOMMU_VIOMMU_TYPE),
  dev_id: u32,
  hwpt_id: u32,
  out_viommu_id: u32,
  data_len: u32,
  __reserved: u32,
  data_uptr: u64,
});

/** `struct iommu_vdevice_alloc` (include/uapi/linux/iommufd.h). `virt_id` is the device's id in the guest: an SMMU's stream id. */
export const vdeviceAlloc = struct("iommu_vdevice_alloc", {
  size: argsz,
  viommu_id: u32,
  dev_id: u32,
  out_vdevice_id: u32,
  virt_id: u64,
});

/** Kinds of queues of virtual events (include/uapi/linux/iommufd.h). */
export const IOMMU_VEVENTQ_TYPE = names("IOMMU_VEVENTQ_TYPE_*", { DEFAULT: 0, ARM_SMMUV3: 1, TEGRA241_CMDQV: 2 });

/** `struct iommu_veventq_alloc` (include/uapi/linux/iommufd.h). */
export const veventqAlloc = struct("iommu_veventq_alloc", {
  size: argsz,
  flags: u32,
  viommu_id: u32,
  type: oneOf(IOMMU_VEVENTQ_TYPE),
  veventq_depth: u32,
  out_veventq_id: u32,
  out_veventq_fd: u32,
  __reserved: u32,
});

/** Flags of {@link veventHeader} (include/uapi/linux/iommufd.h). LOST_EVENTS: the queue overflowed, and no event follows. */
export const IOMMU_VEVENTQ_FLAG = names("IOMMU_VEVENTQ_FLAG_*", { LOST_EVENTS: 1 << 0 });

/** `struct iommufd_vevent_header` (include/uapi/linux/iommufd.h): precedes each event read from a queue. */
export const veventHeader = struct("iommufd_vevent_header", { flags: flags(IOMMU_VEVENTQ_FLAG), sequence: u32 });

/** Kinds of hardware queues given to a guest (include/uapi/linux/iommufd.h). */
export const IOMMU_HW_QUEUE_TYPE = names("IOMMU_HW_QUEUE_TYPE_*", { DEFAULT: 0, TEGRA241_CMDQV: 1 });

/** `struct iommu_hw_queue_alloc` (include/uapi/linux/iommufd.h). */
export const hwQueueAlloc = struct("iommu_hw_queue_alloc", {
  size: argsz,
  flags: u32,
  viommu_id: u32,
  type: oneOf(IOMMU_HW_QUEUE_TYPE),
  index: u32,
  out_hw_queue_id: u32,
  nesting_parent_iova: u64,
  length: u64,
});

/** Makes a virtual IOMMU out of a device's real one (include/uapi/linux/iommufd.h). */
export const IOMMU_VIOMMU_ALLOC: Ioctl = ioctl("IOMMU_VIOMMU_ALLOC", 0x90, viommuAlloc);

/** Gives a device its place behind a virtual IOMMU (include/uapi/linux/iommufd.h). */
export const IOMMU_VDEVICE_ALLOC: Ioctl = ioctl("IOMMU_VDEVICE_ALLOC", 0x91, vdeviceAlloc);

/** Makes a queue of a virtual IOMMU's events (include/uapi/linux/iommufd.h). */
export const IOMMU_VEVENTQ_ALLOC: Ioctl = ioctl("IOMMU_VEVENTQ_ALLOC", 0x93, veventqAlloc);

/** Hands a guest a hardware queue of the IOMMU (include/uapi/linux/iommufd.h). */
export const IOMMU_HW_QUEUE_ALLOC: Ioctl = ioctl("IOMMU_HW_QUEUE_ALLOC", 0x94, hwQueueAlloc);

import { struct } from "./codec.js";
import { argsz, u32, u64 } from "./fields.js";
import { flags, names, oneOf } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** `struct iommu_fault_alloc` (include/uapi/linux/iommufd.h). */
export const faultAlloc = struct("iommu_fault_alloc", {
  size: argsz,
  flags: u32,
  out_fault_id: u32,
  out_fault_fd: u32,
});

/** Flags of {@link pageFault} (include/uapi/linux/iommufd.h). */
export const IOMMU_PGFAULT_FLAGS = names("IOMMU_PGFAULT_FLAGS_*", { PASID_VALID: 1 << 0, LAST_PAGE: 1 << 1 });

/** The access a {@link pageFault} wanted (include/uapi/linux/iommufd.h). */
export const IOMMU_PGFAULT_PERM = names("IOMMU_PGFAULT_PERM_*", {
  READ: 1 << 0,
  WRITE: 1 << 1,
  EXEC: 1 << 2,
  PRIV: 1 << 3,
});

/** `struct iommu_hwpt_pgfault` (include/uapi/linux/iommufd.h): what reading a fault queue gives. */
export const pageFault = struct("iommu_hwpt_pgfault", {
  flags: flags(IOMMU_PGFAULT_FLAGS),
  dev_id: u32,
  pasid: u32,
  grpid: u32,
  perm: flags(IOMMU_PGFAULT_PERM),
  __reserved: u32,
  addr: u64,
  length: u32,
  cookie: u32,
});

/** Whether the device shall try again (include/uapi/linux/iommufd.h). */
export const IOMMUFD_PAGE_RESP = names("IOMMUFD_PAGE_RESP_*", { SUCCESS: 0, INVALID: 1 });

/** `struct iommu_hwpt_page_response` (include/uapi/linux/iommufd.h): what is written to a fault queue. */
export const pageResponse = struct("iommu_hwpt_page_response", { cookie: u32, code: oneOf(IOMMUFD_PAGE_RESP) });

/** Makes a queue of page faults for page tables to report to (include/uapi/linux/iommufd.h). */
export const IOMMU_FAULT_QUEUE_ALLOC: Ioctl = ioctl("IOMMU_FAULT_QUEUE_ALLOC", 0x8e, faultAlloc);

import { struct } from "./codec.js";
import { argsz, bytes, u8, u32, u64 } from "./fields.js";
import { flags, names, oneOf } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** Whose data {@link hwInfo} describes (include/uapi/linux/iommufd.h). */
export const IOMMU_HW_INFO_TYPE = names("IOMMU_HW_INFO_TYPE_*", {
  NONE: 0,
  INTEL_VTD: 1,
  ARM_SMMUV3: 2,
  TEGRA241_CMDQV: 3,
  AMD: 4,
});

/** What any IOMMU may be able to do (include/uapi/linux/iommufd.h). */
export const IOMMU_HW_CAP = names("IOMMU_HW_CAP_*", {
  DIRTY_TRACKING: 1 << 0,
  PCI_PASID_EXEC: 1 << 1,
  PCI_PASID_PRIV: 1 << 2,
  PCI_ATS_NOT_SUPPORTED: 1 << 3,
});

/** Flags of {@link hwInfo} (include/uapi/linux/iommufd.h). INPUT_TYPE: the caller asks for one type, see {@link hwInfoOfType}. */
export const IOMMU_HW_INFO_FLAG = names("IOMMU_HW_INFO_FLAG_*", { INPUT_TYPE: 1 << 0 });

/**
 * `struct iommu_hw_info` (include/uapi/linux/iommufd.h). `data_uptr` points to room for `data_len` bytes, and the kernel writes
 * into `data_len` how many it has.
 */
export const hwInfo = struct("iommu_hw_info", {
  size: argsz,
  flags: flags(IOMMU_HW_INFO_FLAG),
  dev_id: u32,
  data_len: u32,
  data_uptr: u64,
  out_data_type: oneOf(IOMMU_HW_INFO_TYPE),
  out_max_pasid_log2: u8,
  __reserved: bytes(3),
  out_capabilities: flags(IOMMU_HW_CAP, u64),
});

/** `struct iommu_hw_info` (include/uapi/linux/iommufd.h) as the caller fills it to ask for one type. */
export const hwInfoOfType = struct("iommu_hw_info", {
  size: argsz,
  flags: flags(IOMMU_HW_INFO_FLAG),
  dev_id: u32,
  data_len: u32,
  data_uptr: u64,
  in_data_type: oneOf(IOMMU_HW_INFO_TYPE),
  out_max_pasid_log2: u8,
  __reserved: bytes(3),
  out_capabilities: flags(IOMMU_HW_CAP, u64),
});

/** Asks about the IOMMU in front of a device (include/uapi/linux/iommufd.h). */
export const IOMMU_GET_HW_INFO: Ioctl = ioctl("IOMMU_GET_HW_INFO", 0x8a, hwInfo);

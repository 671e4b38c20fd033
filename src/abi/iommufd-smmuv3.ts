import { struct } from "./codec.js";
import { array, u8, u32, u64 } from "./fields.js";
import { flags, names } from "./flags.js";

/** Flags of {@link hwInfoSmmuv3} (include/uapi/linux/iommufd.h): what an SMMU gets wrong. */
export const IOMMU_HW_INFO_ARM_SMMUV3 = names("IOMMU_HW_INFO_ARM_SMMUV3_*", { ERRATA_REPEAT_TLBI_CFGI: 1 << 0 });

/** `struct iommu_hw_info_arm_smmuv3` (include/uapi/linux/iommufd.h): the SMMU's ID registers, of which user space may rely on some bits only. */
export const hwInfoSmmuv3 = struct("iommu_hw_info_arm_smmuv3", {
  flags: flags(IOMMU_HW_INFO_ARM_SMMUV3),
  __reserved: u32,
  idr: array(u32, 6),
  iidr: u32,
  aidr: u32,
});

/** `struct iommu_hwpt_arm_smmuv3` (include/uapi/linux/iommufd.h): the guest's stream table entry, its first two words. */
export const hwptSmmuv3 = struct("iommu_hwpt_arm_smmuv3", { ste: array(u64, 2) });

/** `struct iommu_viommu_arm_smmuv3_invalidate` (include/uapi/linux/iommufd.h): a command of the guest's command queue. */
export const invalidateSmmuv3 = struct("iommu_viommu_arm_smmuv3_invalidate", { cmd: array(u64, 2) });

/** `struct iommu_vevent_arm_smmuv3` (include/uapi/linux/iommufd.h): an event record with the guest's stream id. */
export const veventSmmuv3 = struct("iommu_vevent_arm_smmuv3", { evt: array(u64, 4) });

/** `struct iommu_hw_info_tegra241_cmdqv` (include/uapi/linux/iommufd.h). */
export const hwInfoTegra241 = struct("iommu_hw_info_tegra241_cmdqv", {
  flags: u32,
  version: u8,
  log2vcmdqs: u8,
  log2vsids: u8,
  __reserved: u8,
});

/** `struct iommu_viommu_tegra241_cmdqv` (include/uapi/linux/iommufd.h): where to map the guest's registers. */
export const viommuTegra241 = struct("iommu_viommu_tegra241_cmdqv", {
  out_vintf_mmap_offset: u64,
  out_vintf_mmap_length: u64,
});

/** `struct iommu_vevent_tegra241_cmdqv` (include/uapi/linux/iommufd.h): which of the guest's queues are in error. */
export const veventTegra241 = struct("iommu_vevent_tegra241_cmdqv", { lvcmdq_err_map: array(u64, 2) });

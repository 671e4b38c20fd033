import { struct } from "./codec.js";
import { array, u32, u64 } from "./fields.js";
import { flags, names } from "./flags.js";

/** Flags of {@link hwInfoVtd} (include/uapi/linux/iommufd.h): what an IOMMU gets wrong. */
export const IOMMU_HW_INFO_VTD = names("IOMMU_HW_INFO_VTD_*", { ERRATA_772415_SPR17: 1 << 0 });

/** `struct iommu_hw_info_vtd` (include/uapi/linux/iommufd.h): Intel VT-d's capability registers. */
export const hwInfoVtd = struct("iommu_hw_info_vtd", {
  flags: flags(IOMMU_HW_INFO_VTD),
  __reserved: u32,
  cap_reg: u64,
  ecap_reg: u64,
});

/** Flags of {@link hwptVtd} (include/uapi/linux/iommufd.h). */
export const IOMMU_VTD_S1 = names("IOMMU_VTD_S1_*", { SRE: 1 << 0, EAFE: 1 << 1, WPE: 1 << 2 });

/** `struct iommu_hwpt_vtd_s1` (include/uapi/linux/iommufd.h): the guest's first-stage page table. */
export const hwptVtd = struct("iommu_hwpt_vtd_s1", {
  flags: flags(IOMMU_VTD_S1, u64),
  pgtbl_addr: u64,
  addr_width: u32,
  __reserved: u32,
});

/** Flags of {@link invalidateVtd} (include/uapi/linux/iommufd.h). */
export const IOMMU_VTD_INV_FLAGS = names("IOMMU_VTD_INV_FLAGS_*", { LEAF: 1 << 0 });

/** `struct iommu_hwpt_vtd_s1_invalidate` (include/uapi/linux/iommufd.h). */
export const invalidateVtd = struct("iommu_hwpt_vtd_s1_invalidate", {
  addr: u64,
  npages: u64,
  flags: flags(IOMMU_VTD_INV_FLAGS),
  __reserved: u32,
});

/** `struct iommu_hw_info_amd` (include/uapi/linux/iommufd.h): AMD's extended feature registers. */
export const hwInfoAmd = struct("iommu_hw_info_amd", { efr: u64, efr2: u64 });

/** `struct iommu_hwpt_amd_guest` (include/uapi/linux/iommufd.h): the guest's device table entry. */
export const hwptAmd = struct("iommu_hwpt_amd_guest", { dte: array(u64, 4) });

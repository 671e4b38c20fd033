import { IOMMU_HW_INFO_TYPE } from "../../../abi/iommufd-hw-info.js";
import { hwInfoSmmuv3 } from "../../../abi/iommufd-smmuv3.js";
import { registers } from "../../hw/smmu/registers.js";
import type { SmmuV3 } from "../../hw/smmu/smmu.js";

const { IDR0, IDR1, IDR2, IDR3, IDR4, IDR5, IIDR, AIDR } = registers;

/** What IOMMU_GET_HW_INFO tells of an SMMU: its ID registers as they are (arm-smmu-v3-iommufd.c, arm_smmu_hw_info). */
export function smmuInfo(hardware: SmmuV3): { readonly type: number; readonly data: Uint8Array } {
  const read = ({ offset }: { readonly offset: number }) => hardware.read32(offset);
  const idr = [IDR0, IDR1, IDR2, IDR3, IDR4, IDR5].map(read);
  return {
    type: IOMMU_HW_INFO_TYPE.ARM_SMMUV3,
    data: hwInfoSmmuv3.encode({ idr, iidr: read(IIDR), aidr: read(AIDR) }),
  };
}

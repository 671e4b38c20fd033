import type { Decoded } from "../abi/codec.js";
import { errno } from "../abi/errno.js";
import { hwInfo, IOMMU_GET_HW_INFO, IOMMU_HW_CAP, IOMMU_HW_INFO_TYPE } from "../abi/iommufd-hw-info.js";
import { hwInfoSmmuv3, IOMMU_HW_INFO_ARM_SMMUV3 } from "../abi/iommufd-smmuv3.js";
import { type About, refusal } from "../vfio/refusal.js";
import { withAnswerMemory } from "./answer-memory.js";
import type { Iommufd } from "./iommufd.js";
import { needsIommufdHint } from "./iommufd-refusals.js";

/** The ID registers of an SMMUv3 (Arm IHI 0070, 6.3). Software may rely on what the kernel does not use, too, but at its own risk. */
export interface Smmuv3Info {
  /** IDR0 to IDR5. */
  readonly idr: readonly number[];
  /** Who made it. */
  readonly iidr: number;
  /** Of which version of the architecture it is. */
  readonly aidr: number;
  /** Invalidations have to be made twice, which the kernel does for its own (an erratum). */
  readonly repeatsInvalidations: boolean;
}

/** What the kernel says of the IOMMU in front of a device. */
export interface HardwareInfo {
  /** IOMMU_HW_INFO_TYPE_*: what `data` is. 0: the driver tells nothing, and `data` is empty. */
  readonly type: number;
  /** As the driver gives it (include/uapi/linux/iommufd.h). */
  readonly data: Uint8Array;
  /** `data` of an SMMUv3; undefined of any other IOMMU. */
  readonly smmuv3: Smmuv3Info | undefined;
  /** Page tables can record which pages are written to. */
  readonly dirtyTracking: boolean;
  /** The device may fetch instructions with a PASID. */
  readonly pasidExecute: boolean;
  /** The device may make privileged accesses with a PASID. */
  readonly pasidPrivileged: boolean;
  /** The kernel says that the device cannot use ATS. Linux 7.3 does; older ones say nothing. */
  readonly atsExcluded: boolean;
  /** log2 of how many PASIDs the device has; 0: none. */
  readonly pasidBits: number;
}

/** More than any driver tells. */
const ROOM = 256;

/** IOMMU_GET_HW_INFO (drivers/iommu/iommufd/device.c, iommufd_get_hw_info). @param device its number in the iommufd */
export function askHardwareInfo(iommufd: Iommufd, device: number, about: About): HardwareInfo {
  return withAnswerMemory(iommufd, ROOM, about, (memory) => {
    const bytes = hwInfo.encode({ dev_id: device, data_len: ROOM, data_uptr: memory.address });
    iommufd.ioctl(IOMMU_GET_HW_INFO, bytes, (error) => hardwareInfoRefused(error, about));
    const answer = hwInfo.decode(bytes);
    return told(answer, new Uint8Array(memory.buffer).slice(0, Math.min(answer.data_len, ROOM)));
  });
}

function told(answer: Decoded<typeof hwInfo>, data: Uint8Array): HardwareInfo {
  const has = (capability: number) => (answer.out_capabilities & BigInt(capability)) !== 0n;
  return {
    type: answer.out_data_type,
    data,
    smmuv3: answer.out_data_type === IOMMU_HW_INFO_TYPE.ARM_SMMUV3 ? smmuv3Info(data) : undefined,
    dirtyTracking: has(IOMMU_HW_CAP.DIRTY_TRACKING),
    pasidExecute: has(IOMMU_HW_CAP.PCI_PASID_EXEC),
    pasidPrivileged: has(IOMMU_HW_CAP.PCI_PASID_PRIV),
    atsExcluded: has(IOMMU_HW_CAP.PCI_ATS_NOT_SUPPORTED),
    pasidBits: answer.out_max_pasid_log2,
  };
}

/** @throws IospanError `ERR_IOSPAN_MALFORMED_ANSWER` where it is cut short. */
function smmuv3Info(data: Uint8Array): Smmuv3Info {
  const { flags, idr, iidr, aidr } = hwInfoSmmuv3.decode(data);
  const repeatsInvalidations = (flags & IOMMU_HW_INFO_ARM_SMMUV3.ERRATA_REPEAT_TLBI_CFGI) !== 0;
  return { idr, iidr, aidr, repeatsInvalidations };
}

function hardwareInfoRefused(error: unknown, about: About): unknown {
  const refused = { message: `the kernel does not tell of ${about.iommu}` } as const;
  const unknown = { ...refused, code: "ERR_IOSPAN_NO_IOMMUFD", hint: needsIommufdHint } as const;
  return refusal(
    error,
    about,
    { ...refused, code: "ERR_IOSPAN_SYSCALL", hint: "the kernel log may say more: dmesg | grep -e iommu -e smmu" },
    {
      [errno.ENOTTY]: unknown,
      [errno.EOPNOTSUPP]: {
        ...refused,
        code: "ERR_IOSPAN_NOT_SUPPORTED",
        message: `${refused.message} for ${about.device}: it is a device without an IOMMU, or the IOMMU's driver refuses for it`,
        hint: "do without it: nothing changes that; a driver that only has nothing to tell answers with type 0",
      },
    },
  );
}

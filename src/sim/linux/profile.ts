import { IospanError } from "../../errors.js";

/** What a VFIO domain's IOMMU driver answers when a device behind another SMMU is attached to it. */
export type ForeignAttach = "ENXIO" | "EINVAL" | "pretend";

/**
 * Where kernel versions differ in what a VFIO program can notice. Measured on 5.10, 6.1, 6.12 and 7.3; where the change
 * falls between two of them, the version that holds the commit named with it.
 */
export interface Profile {
  readonly release: string;
  readonly foreignAttach: ForeignAttach;
  /** An address range that wraps around is EOVERFLOW (ef270ec44637, 6.18), before that EINVAL. */
  readonly wrapIsOverflow: boolean;
  /** SET_CONTAINER of a file that is no container: EBADFD since containers can be iommufds (6.2). */
  readonly notContainerIsEbadfd: boolean;
  /** SET_CONTAINER of a descriptor that is not open: EBADF, on 5.10 EINVAL. */
  readonly closedContainerIsEbadf: boolean;
  /** GET_DEVICE_FD looks for the device before it looks at the container; on 5.10 after. */
  readonly deviceNameFirst: boolean;
  /** Type 6, TYPE1_NESTING: taken, refused by the SMMU driver (domains are tied to it at allocation, 6.11), or gone (6.13). */
  readonly nesting: "works" | "EPERM" | "gone";
  /** UNMAP_ALL and the two VADDR flags (5.12). */
  readonly updateVaddr: boolean;
  /** Before domains could enforce coherency (5.19), DMA_CC_IOMMU said what the CPU can. */
  readonly coherencyIsCapability: boolean;
  /** Capabilities of info structs begin on 8 bytes (6.6). */
  readonly alignedCapabilities: boolean;
  /** vfio-pci reads and writes BARs 8 bytes at a time where it can (6.11). */
  readonly wideRegisterAccess: boolean;
  /** SMMU events are printed in words, too (6.14). */
  readonly decodedEvents: boolean;
  /** The TLB is left alone by a domain that no device is in: it knows which SMMUs to tell by its devices (7.0). */
  readonly invalidatesWhenUsed: boolean;
  /** Devices on a VFIO driver have a `vfio-dev` directory (6.1). */
  readonly vfioDeviceClass: boolean;
  /** `/dev/iommu` (6.2), where the kernel is built with it. */
  readonly iommufd: boolean;
  /** `/dev/vfio/devices`: devices that are bound to an iommufd (6.6). */
  readonly vfioCdev: boolean;
  /** The highest call number that `/dev/iommu` knows, from 0x80. */
  readonly lastIommufdCall: number;
  /** IOMMU_GET_HW_INFO tells an SMMU's ID registers (6.13). */
  readonly smmuTellsHardware: boolean;
  /** Page tables of an SMMU can tell which pages were written to (6.11). */
  readonly smmuTracksWrites: boolean;
  /** IOMMU_GET_HW_INFO may be asked for one type of information (6.17). */
  readonly hardwareInfoByType: boolean;
  /** IOMMU_GET_HW_INFO says of a device that it cannot use ATS (7.3, if not earlier). */
  readonly tellsOfAts: boolean;
  /** Devices are attached for one PASID (6.15); before that the flag is unknown. */
  readonly pasidAttach: boolean;
  /** VFIO_DEVICE_BIND_IOMMUFD asks for the token of SR-IOV's functions (6.17), before that it knows none. */
  readonly tokenAtBind: boolean;
  /** Devices without an IOMMU have character devices, too, in no-IOMMU mode (7.3). */
  readonly noiommuCdev: boolean;
  /** `/proc/PID/fdinfo` names the device of a VFIO device descriptor (6.18). */
  readonly fdinfoNamesDevice: boolean;
  /** vfio-pci exports BARs as dma-bufs (VFIO_DEVICE_FEATURE_DMA_BUF, 6.19), where the kernel is built with PCI_P2PDMA. */
  readonly exportsRegisters: boolean;
  /** IOMMU_IOAS_MAP_FILE takes such a dma-buf (6.19); before that it takes it for any file. */
  readonly mapsDmaBufs: boolean;
}

/**
 * The profile of a release, `6.12.107` or `7.3.4+deb13-arm64`.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a text that is no release, or one before 5.10.
 */
export function profileOf(release: string): Profile {
  const [major = 0, minor = 0, patch = 0] = (/^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release) ?? []).slice(1).map(Number);
  const since = (...version: readonly [number, number, number?]) => notBefore([major, minor, patch || 0], version);
  if (!since(5, 10)) {
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `no simulated Linux ${JSON.stringify(release)}`, {
      hint: "take a release from 5.10 on, such as 7.3.4",
    });
  }
  return {
    release,
    foreignAttach: foreignAttach(since),
    wrapIsOverflow: since(6, 18),
    notContainerIsEbadfd: since(6, 2),
    closedContainerIsEbadf: since(5, 16),
    deviceNameFirst: since(5, 16),
    nesting: since(6, 13) ? "gone" : since(6, 11) ? "EPERM" : "works",
    updateVaddr: since(5, 12),
    coherencyIsCapability: !since(5, 19),
    alignedCapabilities: since(6, 6),
    wideRegisterAccess: since(6, 11),
    decodedEvents: since(6, 14),
    invalidatesWhenUsed: since(7, 0),
    vfioDeviceClass: since(6, 1),
    iommufd: since(6, 2),
    vfioCdev: since(6, 6),
    lastIommufdCall: lastIommufdCall(since),
    smmuTellsHardware: since(6, 13),
    smmuTracksWrites: since(6, 11),
    hardwareInfoByType: since(6, 17),
    tellsOfAts: since(7, 3),
    pasidAttach: since(6, 15),
    tokenAtBind: since(6, 17),
    noiommuCdev: since(7, 3),
    fdinfoNamesDevice: since(6, 18),
    exportsRegisters: since(6, 19),
    mapsDmaBufs: since(6, 19),
  };
}

/** Since when a call number, and all below it, were there (include/uapi/linux/iommufd.h, which numbers them as they come). */
const CALLS_SINCE = [
  [7, 3, 0x95], // NOIOMMU_GET_PA
  [6, 17, 0x94], // HW_QUEUE_ALLOC
  [6, 15, 0x93], // VEVENTQ_ALLOC
  [6, 14, 0x92], // IOAS_CHANGE_PROCESS
  [6, 13, 0x91], // IOAS_MAP_FILE, VIOMMU_ALLOC, VDEVICE_ALLOC
  [6, 11, 0x8e], // FAULT_QUEUE_ALLOC
  [6, 8, 0x8d], // HWPT_INVALIDATE
  [6, 7, 0x8c], // HWPT_SET_DIRTY_TRACKING, HWPT_GET_DIRTY_BITMAP
  [6, 6, 0x8a], // HWPT_ALLOC, GET_HW_INFO
] as const;

function lastIommufdCall(since: (major: number, minor: number) => boolean): number {
  return CALLS_SINCE.find(([major, minor]) => since(major, minor))?.[2] ?? 0x88;
}

/** 6.14 to 6.15.2 answered success without attaching (48e7b8e284e5, repaired by be5a2d3f8f97). */
function foreignAttach(since: (major: number, minor: number, patch?: number) => boolean): ForeignAttach {
  if (!since(6, 2)) return "ENXIO";
  return since(6, 14) && !since(6, 15, 3) ? "pretend" : "EINVAL";
}

function notBefore(version: readonly number[], other: readonly (number | undefined)[]): boolean {
  for (const [index, part] of version.entries()) {
    const difference = part - (other[index] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

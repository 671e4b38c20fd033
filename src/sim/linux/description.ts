import type { DeviceKind } from "../hw/device-model.js";

/** Why addresses are reserved, in sysfs's words. */
export const reservedTypes = ["direct", "direct-relaxable", "reserved", "msi"] as const;
/** One of {@link reservedTypes}. */
export type ReservedType = (typeof reservedTypes)[number];

/** Addresses that an IOMMU or a device keeps for itself (`/sys/kernel/iommu_groups/N/reserved_regions`). */
export interface ReservedDescription {
  readonly start: number;
  /** The last address inside. */
  readonly end: number;
  readonly type: ReservedType;
}

/** One SMMUv3. */
export interface IommuDescription {
  /** As in `/sys/class/iommu`: `smmu3.0x000000000c000000`. */
  readonly name: string;
  /** Its platform device; `arm-smmu-v3.N.auto`, as ACPI makes it, where absent. */
  readonly device?: string;
  /**
   * Bitmap of the pages that its driver uses; 4 KiB, 2 MiB and 1 GiB where absent. 4 KiB, 16 KiB and 64 KiB among them are
   * the granules that it implements.
   */
  readonly pageSizes?: bigint;
  /** The stage of translation that it implements: 1 where absent. Stage 2 keeps write-only mappings from being read. */
  readonly stage?: 1 | 2;
  /** Bits of an IOVA in stage 1: 48 where absent. In stage 2 it is `outputBits`. */
  readonly inputBits?: number;
  /** Bits of a physical address, 32, 36, 40, 42, 44, 48 or 52: 44 where absent. */
  readonly outputBits?: number;
  /** Whether its table walks are coherent (`dma-coherent`), which VFIO asks for: true where absent. */
  readonly coherent?: boolean;
  /** Besides the software MSI window at 0x8000000, which every SMMUv3 reports. */
  readonly reserved?: readonly ReservedDescription[];
  /** Physical address of its registers, 128 KiB; where QEMU's virt machine has them, from 0xc000000 on, where absent. */
  readonly registers?: number;
  /** Bits of a StreamID: 16 where absent. */
  readonly streamIdBits?: number;
  /** Whether one command invalidates a range of addresses (IDR3.RIL): true where absent. */
  readonly rangeInvalidation?: boolean;
  /** How many translations its TLB holds: 4096 where absent. */
  readonly tlbEntries?: number;
  /** Whether table walks can mark pages as written to (IDR0.HTTU), for dirty tracking: false where absent, as in QEMU. */
  readonly httu?: boolean;
}

/** RAM. */
export interface MemoryDescription {
  readonly start: number;
  readonly size: number;
}

/** A device's own way to memory, as far as no other device is on it. */
export interface LinkDescription {
  /** Bytes per second. */
  readonly bandwidth: number;
  /** Nanoseconds from a request to its answer when nothing else is under way. */
  readonly latency: number;
}

/** What all links share. */
export interface InterconnectDescription {
  /** Bytes per second that memory moves for all links together; no limit where absent. */
  readonly memoryBandwidth?: number;
  /** Nanoseconds that an SMMU waits for one descriptor of a table walk. */
  readonly walkLatency?: number;
}

/** Faults of a kernel, to see them noticed. IOMMUs go by {@link IommuDescription.name}. */
export interface Bugs {
  /** A mapping is reported as made, but not entered in the page tables of this IOMMU. */
  readonly mapSkips?: string;
  /** Unmapping clears the page tables of this IOMMU and leaves its TLB alone. */
  readonly unmapKeepsTlb?: string;
  /** Attaching a device to a domain of another IOMMU is answered with success and does nothing, as on Linux 6.14 to 6.15.2. */
  readonly attachesNowhere?: boolean;
}

interface CommonDescription {
  /** Kernel name: `0000:02:00.0`, `9030000.dma-port`. */
  readonly name: string;
  /** {@link IommuDescription.name}; absent: nothing translates for the device and it has no group. */
  readonly iommu?: string;
  /** StreamID; from the PCI address where absent. A platform device behind an IOMMU must have one. */
  readonly streamId?: number;
  /** Group number; the next free one where absent. Devices may share one. */
  readonly group?: number;
  /** Bound at boot. Unbound where absent. */
  readonly driver?: string;
  /** Whether interrupts come through an ITS of its own context: true for PCI, false for platform devices where absent. */
  readonly msiIsolated?: boolean;
  /** Of this device: firmware's 1:1 regions, for example. */
  readonly reserved?: readonly ReservedDescription[];
  /** How fast it reaches memory; without limit where absent. */
  readonly link?: LinkDescription;
  readonly model: DeviceKind;
}

/** A PCI function. */
export interface PciDescription extends CommonDescription {
  readonly bus: "pci";
  /** Kernel names of the bridges above, outermost first. */
  readonly behind?: readonly string[];
  /** Whether the kernel knows a way to reset it: true where absent. */
  readonly reset?: boolean;
  /** It is a virtual function of SR-IOV: the kernel name of its physical function, on whose driver it came to be. */
  readonly physicalFunction?: string;
  /** Physical addresses of its BARs by number, below 4 GiB; the first free ones from 0x10000000 on where absent. */
  readonly barAddresses?: ReadonlyMap<number, number>;
}

/** A register frame of a platform device. */
export interface ResourceDescription {
  readonly start: number;
  readonly size: number;
  readonly readOnly?: boolean;
}

/** A device on the SoC's own bus. */
export interface PlatformDescription extends CommonDescription {
  readonly bus: "platform";
  /** The device tree's, most specific first. */
  readonly compatible?: readonly string[];
  readonly resources: readonly ResourceDescription[];
  /** Its interrupts; `level` ones are masked when they fire. */
  readonly interrupts?: readonly ("level" | "edge")[];
  /** Whether a vfio-platform reset module knows its `compatible`: false where absent. */
  readonly resetHandler?: boolean;
}

/** A device to be built into the machine. */
export type DeviceDescription = PciDescription | PlatformDescription;

/** The capabilities that make a difference here. */
export const capabilities = ["CAP_IPC_LOCK"] as const;

/** Capabilities of the simulated process. It is root in every other respect. */
export type Capability = (typeof capabilities)[number];

/**
 * What `/dev/vfio/vfio` is. `type1`: VFIO's own container. `iommufd`: a kernel without VFIO's container (VFIO_CONTAINER=n), of
 * which iommufd takes the place (IOMMUFD_VFIO_CONTAINER). `iommufd-link`: a symbolic link to `/dev/iommu`, which counts locked
 * memory for the user instead of for the process.
 */
export const containers = ["type1", "iommufd", "iommufd-link"] as const;
/** One of {@link containers}. */
export type ContainerProvider = (typeof containers)[number];

/** A machine and the kernel on it. */
export interface MachineDescription {
  /** `uname -r`; decides in what the kernel differs from others. */
  readonly release: string;
  /** Bytes of a page: 4096 where absent. */
  readonly pageSize?: number;
  /** RLIMIT_MEMLOCK in bytes; 8 MiB where absent, `Infinity` for no limit. */
  readonly memlock?: number;
  /** Of the process; none where absent. */
  readonly capabilities?: readonly Capability[];
  /** Where absent, all that the SMMUs can address from 0x40000000 on, up to 1 TiB. */
  readonly memory?: readonly MemoryDescription[];
  readonly interconnect?: InterconnectDescription;
  readonly bugs?: Bugs;
  readonly iommus: readonly IommuDescription[];
  readonly devices: readonly DeviceDescription[];
  /** vfio_iommu_type1.dma_entry_limit: 65535 where absent. */
  readonly dmaEntryLimit?: number;
  /** vfio_iommu_type1.allow_unsafe_interrupts: false where absent. */
  readonly allowUnsafeInterrupts?: boolean;
  /** Whether the kernel is built with iommufd, and VFIO with its character devices, where the release has them: true where absent. */
  readonly iommufd?: boolean;
  /** What `/dev/vfio/vfio` is: `type1` where absent. Others take {@link iommufd}, and a release that has it. */
  readonly container?: ContainerProvider;
  /** Whether VFIO is built with character devices (VFIO_DEVICE_CDEV), where there is iommufd for them: true where absent. */
  readonly vfioCdev?: boolean;
  /** iommufd.allow_unsafe_interrupts, which is not type1's: false where absent. */
  readonly iommufdUnsafeInterrupts?: boolean;
  /** vfio.enable_unsafe_noiommu_mode: false where absent. */
  readonly unsafeNoiommu?: boolean;
  /** vfio_platform.reset_required: true where absent. */
  readonly resetRequired?: boolean;
  /** Reserved huge pages of 2 MiB; none where absent. */
  readonly hugepages2M?: number;
  /** Reserved huge pages of 1 GiB; none where absent. */
  readonly hugepages1G?: number;
  /** How many descriptors the process may have: 1024 where absent. */
  readonly maxFds?: number;
}

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
  /** Bitmap; 4 KiB, 2 MiB and 1 GiB where absent. */
  readonly pageSizes?: bigint;
  /** Stage of translation for VFIO: 1 where absent. Stage 2 keeps write-only mappings from being read. */
  readonly stage?: 1 | 2;
  /** Bits of an IOVA in stage 1: 48 where absent. In stage 2 it is `outputBits`. */
  readonly inputBits?: number;
  /** Bits of a physical address: 44 where absent. */
  readonly outputBits?: number;
  /** Whether its table walks are coherent (`dma-coherent`), which VFIO asks for: true where absent. */
  readonly coherent?: boolean;
  /** Besides the software MSI window at 0x8000000, which every SMMUv3 reports. */
  readonly reserved?: readonly ReservedDescription[];
}

interface CommonDescription {
  /** Kernel name: `0000:02:00.0`, `9030000.dma-port`. */
  readonly name: string;
  /** {@link IommuDescription.name}; absent: nothing translates for the device and it has no group. */
  readonly iommu?: string;
  /** StreamID; from the PCI address where absent. */
  readonly streamId?: number;
  /** Group number; the next free one where absent. Devices may share one. */
  readonly group?: number;
  /** Bound at boot. Unbound where absent. */
  readonly driver?: string;
  /** Whether interrupts come through an ITS of its own context: true for PCI, false for platform devices where absent. */
  readonly msiIsolated?: boolean;
  /** Of this device: firmware's 1:1 regions, for example. */
  readonly reserved?: readonly ReservedDescription[];
  readonly model: DeviceKind;
}

/** A PCI function. */
export interface PciDescription extends CommonDescription {
  readonly bus: "pci";
  /** Kernel names of the bridges above, outermost first. */
  readonly behind?: readonly string[];
  /** Whether the kernel knows a way to reset it: true where absent. */
  readonly reset?: boolean;
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
  readonly iommus: readonly IommuDescription[];
  readonly devices: readonly DeviceDescription[];
  /** vfio_iommu_type1.dma_entry_limit: 65535 where absent. */
  readonly dmaEntryLimit?: number;
  /** vfio_iommu_type1.allow_unsafe_interrupts: false where absent. */
  readonly allowUnsafeInterrupts?: boolean;
  /** vfio_platform.reset_required: true where absent. */
  readonly resetRequired?: boolean;
  /** Reserved huge pages of 2 MiB; none where absent. */
  readonly hugepages2M?: number;
  /** Reserved huge pages of 1 GiB; none where absent. */
  readonly hugepages1G?: number;
  /** How many descriptors the process may have: 1024 where absent. */
  readonly maxFds?: number;
}

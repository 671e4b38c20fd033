import type { Syscalls } from "../syscalls/syscalls.js";

/** A machine to open devices on: this one, with `linux()`, or whatever else has a kernel behind {@link Syscalls}. */
export interface Machine {
  /** The kernel the machine runs. All that the library reads and does passes through here. */
  readonly syscalls: Syscalls;
}

/** One IOMMU, as listed in `/sys/class/iommu`. */
export interface Iommu {
  /** `smmu3.0x000000000c000000`, `dmar0`, … */
  readonly name: string;
}

/** Address ranges of a group that are not for the user's mappings (`/sys/kernel/iommu_groups/N/reserved_regions`). */
export interface ReservedRegion {
  readonly start: bigint;
  /** The last address inside. */
  readonly end: bigint;
  /** `direct`, `direct-relaxable`, `reserved` or `msi`. */
  readonly type: string;
}

/** Every {@link BusType}. */
export const busTypes = ["pci", "platform"] as const;

/** The buses whose devices VFIO can hand out and iospan knows. */
export type BusType = (typeof busTypes)[number];

/** What a PCI function's configuration space says it is. */
export interface PciIds {
  readonly vendor: number;
  readonly device: number;
  /** 24 bits: base class, subclass, programming interface (`0x010802` is an NVMe controller). */
  readonly class: number;
}

/** Where a device is and who drives it, as sysfs said at the moment it was read. */
export interface DeviceState {
  /** The kernel's name: `0000:02:00.0`, `9030000.dma-port`. */
  readonly name: string;
  readonly bus: BusType;
  /** Its directory in sysfs, `/sys/bus/pci/devices/0000:02:00.0`. */
  readonly path: string;
  /** Undefined while no driver is bound. */
  readonly driver: string | undefined;
  /** The IOMMU group's number; undefined for a device that no IOMMU translates for. */
  readonly group: number | undefined;
  readonly iommu: Iommu | undefined;
  /**
   * True when `group` is one that VFIO made up for a device without an IOMMU: its node is `/dev/vfio/noiommu-N`,
   * and nothing can be mapped for its DMA.
   */
  readonly noiommu?: boolean | undefined;
  /** The only driver that may bind the device; undefined where any that matches may. */
  readonly driverOverride?: string | undefined;
  /** `vfio3` while a VFIO driver is bound (Linux 6.1 and later); its node, where the kernel makes one, is `/dev/vfio/devices/vfio3`. */
  readonly vfioDevice?: string | undefined;
}

/** A device as sysfs describes it, at the moment it was read. */
export interface MachineDevice extends DeviceState {
  /** PCI only. */
  readonly pci?: PciIds | undefined;
  /** The device tree's `compatible`, most specific first. */
  readonly compatible?: readonly string[] | undefined;
  /** What modprobe matches drivers by: `pci:v0000…`, `of:N…`. */
  readonly modalias?: string | undefined;
}

import type { Syscalls } from "../syscalls/syscalls.js";

/** A machine to open devices on: this one (`linux()`) or a simulated one (`simulate()`). */
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

export const busTypes = ["pci", "platform"] as const;

/** The buses whose devices VFIO can hand out and iospan knows. */
export type BusType = (typeof busTypes)[number];

/** A device as sysfs describes it. */
export interface MachineDevice {
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
}

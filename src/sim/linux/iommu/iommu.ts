import type { ReservedDescription } from "../description.js";

/** What a device may do through a mapping. */
export interface DmaProtection {
  readonly read: boolean;
  readonly write: boolean;
}

/** What an IOMMU knows a device by. */
export interface DmaMaster {
  /** Kernel name of the device. */
  readonly name: string;
  readonly streamId: number;
  /** The driver it is bound to, empty while there is none; log lines begin with it. */
  readonly driverName: string;
  /** The device's own reserved regions, from firmware. */
  readonly reserved: readonly ReservedDescription[];
}

/** One mapping that a domain holds. */
export interface DomainMapping extends DmaProtection {
  readonly iova: number;
  readonly physicalAddress: number;
  readonly size: number;
}

/**
 * An address space of one IOMMU, the kernel's `struct iommu_domain` of a paging type: what VFIO maps into.
 * Addresses and sizes are multiples of the smallest page size.
 */
export interface IommuDomain {
  /** The IOMMU it was allocated on. */
  readonly iommu: Iommu;
  /** Bitmap. */
  readonly pageSizes: bigint;
  /** Addresses that can be mapped; the last one is inside. */
  readonly aperture: { readonly start: number; readonly end: number };
  /** Whether it makes non-coherent accesses coherent (`enforce_cache_coherency`). */
  readonly enforcesCoherency: boolean;
  /** Refused where something is mapped already or an address is out of range, with nothing changed. */
  map(iova: number, physicalAddress: number, size: number, protection: DmaProtection): void;
  /** When it returns, nothing of the range translates any more. @returns bytes that were mapped */
  unmap(iova: number, size: number): number;
  /** Where an address goes; undefined when it is not mapped. */
  physicalAddressOf(iova: number): number | undefined;
  /** What is mapped, by IOVA; adjacent mappings that go on physically may be one. */
  mappings(): readonly DomainMapping[];
  /** No device is attached any more. */
  free(): void;
}

/** What a device may be attached to: its kernel driver's domain, nothing, or a paging domain. */
export type Attachable = "default" | "blocked" | IommuDomain;

/** A DMA access that went through, as far as it is contiguous. */
export interface Translation {
  readonly physicalAddress: number;
  readonly length: number;
}

/** One IOMMU instance with its driver. */
export interface Iommu {
  /** As in `/sys/class/iommu`. */
  readonly name: string;
  /** The platform device, `arm-smmu-v3.0.auto`. */
  readonly device: string;
  /** IOMMU_CAP_CACHE_COHERENCY, which VFIO asks for. */
  readonly coherent: boolean;
  /** Two IOMMUs with the same value share the ops table of their domains, which is what type1 compares. */
  readonly operations: string;
  allocateDomain(master: DmaMaster): IommuDomain;
  /** Routes a device's DMA. Refused with the device where it was. */
  attach(master: DmaMaster, target: Attachable): void;
  /** Undefined when the access is aborted; the driver's report of it is in the kernel log by then. */
  translate(master: DmaMaster, iova: bigint, length: number, write: boolean): Translation | undefined;
  reservedRegions(master: DmaMaster): readonly ReservedDescription[];
}

import type { ReservedDescription } from "../description.js";
import type { MsiCookie } from "./msi-cookie.js";
import type { TlbGather } from "./tlb-gather.js";

/** What a device may do through a mapping. */
export interface DmaProtection {
  readonly read: boolean;
  readonly write: boolean;
  /** It maps registers: nothing is cached and nothing is executed (IOMMU_MMIO, IOMMU_NOEXEC). */
  readonly device?: boolean;
}

/** What an IOMMU knows a device by. */
export interface DmaMaster {
  /** Kernel name of the device. */
  readonly name: string;
  /** Log lines begin with it while there is no driver. */
  readonly bus: string;
  readonly streamId: number;
  /** The driver it is bound to, empty while there is none; log lines begin with it. */
  readonly driverName: string;
  /** The device's own reserved regions, from firmware. */
  readonly reserved: readonly ReservedDescription[];
}

/** One mapping that a domain holds. */
export interface DomainMapping {
  readonly iova: number;
  readonly physicalAddress: number;
  readonly size: number;
  /** What the page tables allow. Those of stage 1 cannot keep a device from reading. */
  readonly read: boolean;
  readonly write: boolean;
}

/** What to ask a domain of: whole pages, mapped without a hole. */
export interface DirtyRange {
  readonly iova: number;
  readonly size: number;
  readonly clear: boolean;
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
  /** Where doorbells of interrupt controllers are mapped; undefined while nobody said where they may be. */
  msiCookie: MsiCookie | undefined;
  /** Refused where something is mapped already or an address is out of range, with nothing changed. */
  map(iova: number, physicalAddress: number, size: number, protection: DmaProtection): void;
  /** When it returns, nothing of the range translates any more. @returns bytes that were mapped, up to the first hole */
  unmap(iova: number, size: number): number;
  /** {@link unmap} whose end is {@link sync}: until then, the IOMMU may still translate what it remembers. */
  unmapLazily(iova: number, size: number, gather: TlbGather): number;
  /** Nothing of what was gathered translates any more. */
  sync(gather: TlbGather): void;
  /** Where an address goes; undefined when it is not mapped. */
  physicalAddressOf(iova: number): number | undefined;
  /** Bytes from an address on, `limit` at most, that are mapped and go on physically; 0 when it is not mapped. */
  contiguousFrom(iova: number, limit: number): number;
  /**
   * Shows the pages and blocks of a range that were written to, and with `clear` begins anew: what is written from then on
   * will be shown the next time. Absent where the domain was not made for it (`dirty_ops`).
   */
  readonly visitDirty?: ((range: DirtyRange, record: (iova: number, size: number) => void) => void) | undefined;
  /** What is mapped, by IOVA; what goes on physically and allows the same is one. */
  mappings(): readonly DomainMapping[];
  /** No device is attached any more. */
  free(): void;
}

/** What a domain shall be able to do, as IOMMU_HWPT_ALLOC asks (`domain_alloc_paging_flags`). */
export interface DomainRequest {
  /** Page tables of guests can be nested in it. */
  readonly nestParent: boolean;
  /** It tells which pages were written to. */
  readonly dirtyTracking: boolean;
  /** PASIDs can be attached to it. */
  readonly pasid: boolean;
}

/** What a device may be attached to: nothing, or a domain. */
export type Attachable = "blocked" | IommuDomain;

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
  /** Where the kernel maps doorbells of interrupt controllers; part of {@link reservedRegions}. */
  readonly msiWindow: ReservedDescription;
  /**
   * Makes the device known (`probe_device`). False: the driver has no use for it, and it gets no group.
   * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a StreamID that the IOMMU does not have.
   */
  probe(master: DmaMaster): boolean;
  /** Page tables can say which pages were written to (IOMMU_CAP_DIRTY_TRACKING). */
  readonly tracksWrites: boolean;
  /**
   * Refuses with EBUSY or ENOSPC when the IOMMU can tell no more domains apart, with ENOMEM, and with EOPNOTSUPP for what it
   * has not got.
   */
  allocateDomain(master: DmaMaster, request?: DomainRequest): IommuDomain;
  /** Routes a device's DMA. Refused with the device where it was. */
  attach(master: DmaMaster, target: Attachable): void;
  reservedRegions(master: DmaMaster): readonly ReservedDescription[];
  /** What IOMMU_GET_HW_INFO tells of it: IOMMU_HW_INFO_TYPE_* and that type's struct; absent where nobody can say. */
  hardwareInfo?(): { readonly type: number; readonly data: Uint8Array };
}

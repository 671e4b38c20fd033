import type { PhysicalMemory } from "../../hw/physical-memory.js";
import { IntervalMap } from "../../interval-map.js";
import type { DmaProtection, IommuDomain } from "../iommu/iommu.js";
import type { IommuGroup } from "../iommu/iommu-group.js";
import type { KernelLog } from "../kernel-log.js";
import type { Extent } from "../mm/memory-object.js";
import type { Process } from "../process.js";
import type { Profile } from "../profile.js";
import { IovaList } from "./iova-list.js";

/** What the backend needs of the kernel around it. */
export interface Type1Kernel {
  readonly profile: Profile;
  readonly log: KernelLog;
  readonly physical: PhysicalMemory;
  readonly process: Process;
  /** The module's parameters as they are now. */
  readonly parameters: Type1Parameters;
}

/** Parameters of vfio_iommu_type1. */
export interface Type1Parameters {
  dmaEntryLimit: number;
  allowUnsafeInterrupts: boolean;
}

/** One MAP_DMA: the kernel's `struct vfio_dma`. */
export interface Dma {
  readonly iova: number;
  readonly size: number;
  readonly protection: DmaProtection;
  vaddr: number;
  /** UNMAP with the VADDR flag took the address away; the mapping stays. */
  vaddrInvalid: boolean;
  /** The RAM it pins. */
  readonly pinned: readonly Extent[];
  /** Pages counted against the process's locked memory. */
  readonly lockedPages: number;
  readonly process: Process;
}

/** A domain with the groups attached to it: the kernel's `struct vfio_domain`. */
export interface Type1Domain {
  readonly domain: IommuDomain;
  readonly groups: IommuGroup[];
}

/** One type1 backend: the kernel's `struct vfio_iommu`. */
export interface Type1State {
  readonly kernel: Type1Kernel;
  /** Opened as TYPE1v2: unmapping a part of a mapping is refused instead of guessed. */
  readonly v2: boolean;
  /** Newest first. */
  readonly domains: Type1Domain[];
  readonly dmas: IntervalMap<Dma>;
  /** Where mappings may lie. */
  readonly ranges: IovaList;
  /** Bitmap: what all domains can. */
  pageSizes: bigint;
  /** How many more DMAs it takes. */
  available: number;
  dirtyTracking: boolean;
  /** How many DMAs are without an address. */
  vaddrInvalid: number;
}

/** A backend without groups (vfio_iommu_type1_open). */
export function newType1(kernel: Type1Kernel, v2: boolean): Type1State {
  return {
    kernel,
    v2,
    domains: [],
    dmas: new IntervalMap((dma) => dma),
    ranges: new IovaList(),
    pageSizes: 0n,
    available: kernel.parameters.dmaEntryLimit,
    dirtyTracking: false,
    vaddrInvalid: 0,
  };
}

/** The smallest page that every domain can map; 1 where they have none in common, which nobody refuses before a mapping fails. */
export function smallestPage({ pageSizes }: Type1State): bigint {
  return pageSizes === 0n ? 1n : pageSizes & -pageSizes;
}

/** vfio_find_dma: any mapping that reaches into the range. Addresses beyond 2^53 are inexact, but nothing is mapped there. */
export function findDma(state: Type1State, iova: bigint | number, size: bigint | number): Dma | undefined {
  const start = Number(iova);
  return state.dmas.first(start, start + Number(size))?.value;
}

/** Answers an address range that wraps around. */
export function wrapErrno(state: Type1State): "EOVERFLOW" | "EINVAL" {
  return state.kernel.profile.wrapIsOverflow ? "EOVERFLOW" : "EINVAL";
}

/** Whether start + size - 1 does not fit 64 bits. */
export function wraps(start: bigint, size: bigint): boolean {
  return start + size > 2n ** 64n;
}

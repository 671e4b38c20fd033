import type { KernelLog } from "../kernel-log.js";
import { refuse } from "../refusal.js";
import type { CoherentMemory } from "./coherent-memory.js";
import type { DomainTag, DomainTlb } from "./domain-tlb.js";
import type { DirtyRange, DmaProtection, DomainMapping, Iommu, IommuDomain } from "./iommu.js";
import { protectionOf } from "./leaf-attributes.js";
import type { MsiCookie } from "./msi-cookie.js";
import { choosePages, type PageRun } from "./page-sizes.js";
import { PageTable } from "./page-table.js";
import { pageSizeBitmap, type TableGeometry } from "./table-geometry.js";
import { TlbGather } from "./tlb-gather.js";

/** What a domain is made of. */
export interface SmmuDomainParts {
  readonly iommu: Iommu;
  readonly geometry: TableGeometry;
  readonly memory: CoherentMemory;
  readonly tlb: DomainTlb;
  readonly tag: DomainTag;
  readonly log: KernelLog;
  readonly bugs: DomainBugs;
  /** Whether the TLB is left alone while no device is in the domain. */
  readonly invalidatesWhenUsed: boolean;
  /** Entries say whether pages were written to (IO_PGTABLE_QUIRK_ARM_HD). */
  readonly dirtyTracking: boolean;
  /** The domain is gone, its tag free. */
  freed(): void;
}

/** What the kernel does wrong with domains of this SMMU. */
export interface DomainBugs {
  /** Says that it maps, and does not. */
  readonly mapSkips: boolean;
  /** Unmaps and leaves the TLB as it was. */
  readonly unmapKeepsTlb: boolean;
}

/**
 * A paging domain of one SMMU: page tables, a number for its TLB entries, and what iommu.c and arm-smmu-v3.c do with them
 * (iommu_map, iommu_unmap, arm_smmu_map_pages, arm_lpae_map_pages, arm_smmu_unmap_pages).
 */
export class SmmuDomain implements IommuDomain {
  readonly iommu: Iommu;
  readonly geometry: TableGeometry;
  readonly tag: DomainTag;
  readonly pageSizes: bigint;
  readonly aperture: { readonly start: number; readonly end: number };
  readonly enforcesCoherency = false;
  readonly visitDirty: IommuDomain["visitDirty"];
  msiCookie: MsiCookie | undefined;
  readonly #parts: SmmuDomainParts;
  readonly #table: PageTable;
  readonly #run: PageRun = { size: 0, count: 0 };
  #attached = 0;
  #unmapping = false;

  /** Refuses with ENOMEM. */
  constructor(parts: SmmuDomainParts) {
    const { iommu, geometry, memory, tag } = parts;
    this.iommu = iommu;
    this.geometry = geometry;
    this.tag = tag;
    this.pageSizes = pageSizeBitmap(geometry);
    this.aperture = { start: 0, end: 2 ** geometry.inputBits - 1 };
    this.#parts = parts;
    const watcher = { unlinked: (iova: number, size: number) => this.#unlinked(iova, size) };
    this.#table = new PageTable(geometry, memory, watcher, parts.dirtyTracking);
    this.visitDirty = parts.dirtyTracking ? (range, record) => this.#visitDirty(range, record) : undefined;
  }

  /** The SMMU is to mark pages that are written to (CD.HA and CD.HD). */
  get dirtyTracking(): boolean {
    return this.#parts.dirtyTracking;
  }

  /** Where its first table is. */
  get tableAddress(): number {
    return this.#table.address;
  }

  map(iova: number, physicalAddress: number, size: number, protection: DmaProtection): void {
    this.#requireAligned(iova, physicalAddress, size);
    const { inputBits, outputBits } = this.geometry;
    if (iova + size > 2 ** inputBits || physicalAddress + size > 2 ** outputBits) refuse("ERANGE");
    // A page table has no entry for what nobody may use.
    if (!protection.read && !protection.write) refuse("EINVAL");
    if (this.#parts.bugs.mapSkips) return;
    let done = 0;
    try {
      while (done < size) {
        const run = choosePages(this.geometry.pageSizes, iova + done, physicalAddress + done, size - done, this.#run);
        done += run.size * this.#table.map(iova + done, physicalAddress + done, run.size, run.count, protection);
      }
    } catch (error) {
      this.unmap(iova, done);
      throw error;
    }
  }

  unmap(iova: number, size: number): number {
    const gather = new TlbGather();
    const unmapped = this.unmapLazily(iova, size, gather);
    this.sync(gather);
    return unmapped;
  }

  unmapLazily(iova: number, size: number, gather: TlbGather): number {
    if (this.#parts.bugs.mapSkips) return size;
    this.#unmapping = true;
    let done = 0;
    while (done < size) {
      const run = choosePages(this.geometry.pageSizes, iova + done, iova + done, size - done, this.#run);
      const length = run.size * this.#table.unmap(iova + done, run.size, run.count);
      if (length === 0) break;
      this.#gather(gather, iova + done, length, run.size);
      done += length;
    }
    this.#unmapping = false;
    return done;
  }

  sync(gather: TlbGather): void {
    const { start, size, pageSize } = gather;
    gather.clear();
    if (pageSize !== 0 && this.#isCached && !this.#parts.bugs.unmapKeepsTlb)
      this.#parts.tlb.leaves(start, size, pageSize);
  }

  physicalAddressOf(iova: number): number | undefined {
    return this.#table.translate(iova);
  }

  contiguousFrom(iova: number, limit: number): number {
    const end = iova + limit;
    let next = iova;
    let expected: number | undefined;
    this.#table.visit(iova, end, (start, size, physicalAddress) => {
      const inside = physicalAddress + next - start;
      if (start > next || (expected !== undefined && inside !== expected)) return false;
      next = start + size;
      expected = physicalAddress + size;
      return true;
    });
    return Math.min(next, end) - iova;
  }

  mappings(): readonly DomainMapping[] {
    const found: { iova: number; physicalAddress: number; size: number; read: boolean; write: boolean }[] = [];
    this.#table.visit(0, Number.POSITIVE_INFINITY, (iova, size, physicalAddress, { low, high }) => {
      const { read, write } = protectionOf(this.geometry.stage, low, high);
      const last = found.at(-1);
      const goesOn =
        last !== undefined &&
        last.iova + last.size === iova &&
        last.physicalAddress + last.size === physicalAddress &&
        last.read === read &&
        last.write === write;
      if (goesOn) last.size += size;
      else found.push({ iova, physicalAddress, size, read, write });
      return true;
    });
    return found;
  }

  free(): void {
    this.#table.free();
    this.#parts.freed();
  }

  /** A device's DMA goes through it from now on. */
  entered(): void {
    this.#attached += 1;
  }

  /** A device's DMA no longer goes through it. With the last one, the SMMU forgets it: its tag may be used anew. */
  left(): void {
    this.#attached -= 1;
    if (this.#attached === 0) this.#parts.tlb.all();
  }

  /**
   * arm_smmu_read_and_clear_dirty and the sync after it (iommu_read_and_clear_dirty). That is in vain, as on Linux 7.3: what is
   * gathered as a range has no page size, and arm_smmu_iotlb_sync does nothing without. The TLB goes on to let writes
   * through that it let through before, and those are not marked again.
   */
  #visitDirty({ iova, size, clear }: DirtyRange, record: (iova: number, size: number) => void): void {
    const gather = new TlbGather();
    this.#table.visitDirty(iova, iova + size, clear, (start, length) => {
      record(start, length);
      gather.addRange(start, length);
    });
    if (clear) this.sync(gather);
  }

  /** Whether the kernel reckons with entries in the TLB: {@link left} leaves none. */
  get #isCached(): boolean {
    return this.#attached > 0 || !this.#parts.invalidatesWhenUsed;
  }

  /** Pages of another size, or elsewhere, cannot be invalidated in one go with what is gathered. */
  #gather(gather: TlbGather, iova: number, length: number, pageSize: number): void {
    if (gather.conflicts(iova, length, pageSize)) this.sync(gather);
    gather.add(iova, length, pageSize);
  }

  #unlinked(iova: number, size: number): void {
    if (this.#unmapping && this.#parts.bugs.unmapKeepsTlb) return;
    if (this.#isCached) this.#parts.tlb.tables(iova, size);
  }

  #requireAligned(iova: number, physicalAddress: number, size: number): void {
    const [page = 1] = this.geometry.pageSizes;
    if (iova % page === 0 && physicalAddress % page === 0 && size % page === 0) return;
    const hex = (value: number) => `0x${value.toString(16)}`;
    const address = `0x${physicalAddress.toString(16).padStart(16, "0")}`;
    this.#parts.log.print(
      `iommu: unaligned: iova ${hex(iova)} pa ${address} size ${hex(size)} min_pagesz ${hex(page)}`,
    );
    refuse("EINVAL");
  }
}

import type { DmaProtection, IommuDomain } from "../iommu/iommu.js";
import { TlbGather } from "../iommu/tlb-gather.js";
import type { UserExtent } from "../mm/address-space.js";
import type { Extent } from "../mm/memory-object.js";
import { refuse } from "../refusal.js";
import type { Dma, Type1State } from "./state.js";

/** What a MAP_DMA asks for, checked as far as addresses go. */
export interface MapRequest {
  readonly iova: number;
  readonly vaddr: number;
  readonly size: number;
  readonly protection: DmaProtection;
}

/**
 * Pins memory, counts it, and maps it in every domain (vfio_pin_map_dma): what goes on physically at once, so that it gets
 * the largest pages there are. All or nothing.
 */
export function pinAndMap(state: Type1State, request: MapRequest): Dma {
  const { process } = state.kernel;
  const { vaddr, size, protection } = request;
  const pinned: Extent[] = [];
  let lockedPages = 0;
  let done = 0;
  const mapRun = (run: Extent) => {
    mapEverywhere(state, request.iova + done, run, protection);
    done += run.length;
  };
  try {
    let run: UserExtent | undefined;
    for (const extent of process.memory.touch(vaddr, vaddr + size, protection.write)) {
      if (run !== undefined && !goesOn(run, extent)) {
        mapRun(run);
        run = undefined;
      }
      lockedPages += pin(state, extent, pinned);
      run = run === undefined ? extent : { ...run, length: run.length + extent.length };
    }
    if (run !== undefined) mapRun(run);
  } catch (error) {
    for (const { domain } of state.domains) domain.unmap(request.iova, done);
    unpin(state, pinned, lockedPages);
    throw error;
  }
  return { ...request, vaddrInvalid: false, pinned, lockedPages, process };
}

function goesOn(run: UserExtent, next: UserExtent): boolean {
  return run.isRam === next.isRam && run.address + run.length === next.address;
}

/** Registers are neither pinned nor counted (vfio_pin_pages_remote, is_invalid_reserved_pfn). */
function pin({ kernel }: Type1State, extent: UserExtent, pinned: Extent[]): number {
  if (!extent.isRam) return 0;
  const { process, physical, log } = kernel;
  const pages = extent.length / physical.pageSize;
  const { memlock } = process.limits;
  if ((process.lockedPages + pages) * physical.pageSize > memlock && !process.hasCapability("CAP_IPC_LOCK")) {
    log.print(`vfio_pin_pages_remote: RLIMIT_MEMLOCK (${memlock}) exceeded`);
    refuse("ENOMEM");
  }
  physical.hold(extent.address, extent.length);
  pinned.push({ address: extent.address, length: extent.length });
  process.lockedPages += pages;
  return pages;
}

/** Newest domain first; a refusal is undone in those that had accepted (vfio_iommu_map). */
function mapEverywhere(state: Type1State, iova: number, extent: Extent, protection: DmaProtection): void {
  const mapped: number[] = [];
  for (const [index, { domain }] of state.domains.entries()) {
    try {
      domain.map(iova, extent.address, extent.length, protection);
      mapped.push(index);
    } catch (error) {
      for (const done of mapped) state.domains[done]?.domain.unmap(iova, extent.length);
      throw error;
    }
  }
}

/** Unmaps a DMA everywhere, the newest domain last because the physical addresses are read back from it, and lets its pages go. */
export function dropDma(state: Type1State, dma: Dma): void {
  const [newest, ...others] = state.domains;
  for (const { domain } of others) domain.unmap(dma.iova, dma.size);
  if (newest !== undefined) unmapRuns(newest.domain, dma);
  state.dmas.remove(dma.iova, dma.iova + dma.size);
  if (dma.vaddrInvalid) state.vaddrInvalid -= 1;
  unpin(state, dma.pinned, dma.lockedPages);
  state.available += 1;
}

/** Physically contiguous runs that are invalidated in the TLB together (vfio_iommu_type1.c, VFIO_IOMMU_TLB_SYNC_MAX). */
const MOST_RUNS = 512;

/** Unmaps what goes on physically at a time (vfio_unmap_unpin, unmap_unpin_fast). */
function unmapRuns(domain: IommuDomain, { iova, size }: Dma): void {
  const gather = new TlbGather();
  const end = iova + size;
  let runs = 0;
  for (let at = iova; at < end; ) {
    const length = domain.contiguousFrom(at, end - at);
    // The kernel warns of a page that is not there, and goes on.
    const unmapped = domain.unmapLazily(at, length === 0 ? end - at : length, gather);
    if (unmapped === 0) break;
    at += unmapped;
    runs += 1;
    if (runs % MOST_RUNS === 0) domain.sync(gather);
  }
  domain.sync(gather);
}

function unpin({ kernel }: Type1State, pinned: readonly Extent[], lockedPages: number): void {
  for (const { address, length } of pinned) kernel.physical.release(address, length);
  kernel.process.lockedPages -= lockedPages;
}

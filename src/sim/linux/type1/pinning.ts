import type { DmaProtection } from "../iommu/iommu.js";
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

/** Pins memory, counts it, and maps it in every domain (vfio_pin_map_dma). All or nothing. */
export function pinAndMap(state: Type1State, request: MapRequest): Dma {
  const { process } = state.kernel;
  const pinned: Extent[] = [];
  let lockedPages = 0;
  let done = 0;
  try {
    const { vaddr, size, protection } = request;
    for (const extent of process.memory.touch(vaddr, vaddr + size, protection.write)) {
      lockedPages += pin(state, extent, pinned);
      mapEverywhere(state, request.iova + done, extent, protection);
      done += extent.length;
    }
  } catch (error) {
    for (const { domain } of state.domains) domain.unmap(request.iova, done);
    unpin(state, pinned, lockedPages);
    throw error;
  }
  return { ...request, vaddrInvalid: false, pinned, lockedPages, process };
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
  for (const { domain } of [...state.domains.slice(1), ...state.domains.slice(0, 1)]) domain.unmap(dma.iova, dma.size);
  state.dmas.remove(dma.iova, dma.iova + dma.size);
  if (dma.vaddrInvalid) state.vaddrInvalid -= 1;
  unpin(state, dma.pinned, dma.lockedPages);
  state.available += 1;
}

function unpin({ kernel }: Type1State, pinned: readonly Extent[], lockedPages: number): void {
  for (const { address, length } of pinned) kernel.physical.release(address, length);
  kernel.process.lockedPages -= lockedPages;
}

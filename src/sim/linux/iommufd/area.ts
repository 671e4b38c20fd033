import type { DmaProtection, IommuDomain } from "../iommu/iommu.js";
import { refuse } from "../refusal.js";
import type { UserPages } from "./user-pages.js";

/** A part of memory to map. */
export interface MapPiece {
  readonly pages: UserPages;
  /** Bytes from the start of the pages' range. */
  readonly offset: number;
  readonly length: number;
}

/** One mapping: the kernel's `struct iopt_area`. */
export interface Area extends MapPiece {
  readonly iova: number;
  readonly protection: DmaProtection;
}

/** Maps an area in a domain, all or nothing of it. @param step bytes at a time at most */
export function enterArea(domain: IommuDomain, area: Area, step: number): void {
  const { iova, pages, offset, length, protection } = area;
  if (pages.revocation?.isRevoked) return;
  let at = iova;
  try {
    for (const extent of pages.extents(offset, offset + length)) {
      for (let done = 0; done < extent.length; done += step) {
        const size = Math.min(step, extent.length - done);
        domain.map(at, extent.address + done, size, protection);
        at += size;
      }
    }
  } catch (error) {
    if (at > iova) domain.unmap(iova, at - iova);
    throw error;
  }
}

/** Unmaps an area from a domain that has it: all of it, or nothing any more since its pages were taken back. */
export function leaveArea(domain: IommuDomain, { iova, length, pages }: Area): void {
  if (!pages.revocation?.isRevoked) domain.unmap(iova, length);
}

/** An address as a number, which beyond 2^53 has the multiples of pages only. */
export function exactly(value: bigint): number {
  const number = Number(value);
  return BigInt(number) === value
    ? number
    : refuse("ENOSYS", "addresses beyond 2^53 that are no pages are not simulated");
}

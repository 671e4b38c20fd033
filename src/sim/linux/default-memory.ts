import type { IommuDescription, MemoryDescription } from "./description.js";

/** Where QEMU's virt machine has its RAM. */
const START = 0x4000_0000;
/** As bits of an address. */
const MOST = 40;

/**
 * The RAM of a machine that gives none: as much as all its SMMUs can address, up to 1 TiB. Freed addresses are then used
 * again before new ones pass what an SMMU can put in its tables.
 */
export function defaultMemory(iommus: readonly IommuDescription[]): readonly MemoryDescription[] {
  const bits = Math.min(MOST, ...iommus.map(({ outputBits = MOST }) => outputBits));
  return [{ start: START, size: 2 ** bits - START }];
}

/** How much of a range is mapped or unmapped with pages of one size. */
export interface PageRun {
  /** Bytes of a page. */
  size: number;
  count: number;
}

/**
 * Chooses the largest page that a range can begin with, and how many of them to take before a larger one fits
 * (drivers/iommu/iommu.c, iommu_pgsize). To unmap, `physicalAddress` is the IOVA, too.
 * @param sizes ascending; addresses and length are multiples of the first
 */
export function choosePages(
  sizes: readonly number[],
  iova: number,
  physicalAddress: number,
  length: number,
  run: PageRun,
): PageRun {
  let index = sizes.length - 1;
  while (index > 0 && !fits(sizes[index] as number, iova, physicalAddress, length)) index--;
  run.size = sizes[index] as number;
  run.count = Math.floor(lengthBefore(sizes[index + 1], iova, physicalAddress, length) / run.size);
  return run;
}

function fits(size: number, iova: number, physicalAddress: number, length: number): boolean {
  return length >= size && iova % size === 0 && physicalAddress % size === 0;
}

/** Bytes up to where pages of the next size can be used; all where they never can. */
function lengthBefore(next: number | undefined, iova: number, physicalAddress: number, length: number): number {
  if (next === undefined || iova % next !== physicalAddress % next) return length;
  const offset = next - (iova % next);
  return offset + next <= length ? offset : length;
}

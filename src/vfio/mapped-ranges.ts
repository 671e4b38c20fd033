import type { IovaSize } from "./mapping-probe.js";

/**
 * The mappings that were made through one object, so that an unmap can be known to cut one, or none, before the kernel is asked:
 * an iommufd unmaps what lies below that one first, and refuses then (io_pagetable.c, iopt_unmap_iova_range). Mappings that
 * came about otherwise are not in here.
 */
export class MappedRanges {
  readonly #sizes = new Map<bigint, bigint>();

  add({ iova, size }: IovaSize): void {
    this.#sizes.set(iova, size);
  }

  /** Whether exactly this range was mapped as one: unmapping it cuts nothing. */
  has({ iova, size }: IovaSize): boolean {
    return this.#sizes.get(iova) === size;
  }

  /** Nothing in a range is mapped any more: what reaches into it is not the mapping that was made. */
  remove(range: IovaSize): void {
    // What was mapped as a whole is nearly always unmapped as one.
    if (this.has(range)) {
      this.#sizes.delete(range.iova);
      return;
    }
    for (const [iova, size] of this.#sizes) if (overlap({ iova, size }, range)) this.#sizes.delete(iova);
  }

  clear(): void {
    this.#sizes.clear();
  }

  /** A mapping that reaches into a range and out of it. */
  cutBy(range: IovaSize): IovaSize | undefined {
    if (this.has(range)) return undefined;
    for (const [iova, size] of this.#sizes) {
      const mapping = { iova, size };
      if (overlap(mapping, range) && !isInside(mapping, range)) return mapping;
    }
    return undefined;
  }
}

function isInside(inner: IovaSize, outer: IovaSize): boolean {
  return inner.iova >= outer.iova && inner.iova + inner.size <= outer.iova + outer.size;
}

function overlap(a: IovaSize, b: IovaSize): boolean {
  return a.iova < b.iova + b.size && b.iova < a.iova + a.size;
}

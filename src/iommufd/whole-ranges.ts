/**
 * The ranges that one address space object has mapped: each begins where a mapping begins and ends where one ends, so that
 * unmapping it cuts nothing, and the kernel need not be asked. Mappings that came about otherwise are not in here.
 */
export class WholeRanges {
  /** Sizes by IOVA. */
  readonly #sizes = new Map<bigint, number>();

  add(iova: bigint, size: number): void {
    this.#sizes.set(iova, size);
  }

  has(iova: bigint, size: number): boolean {
    return this.#sizes.get(iova) === size;
  }

  /** Nothing in a range is mapped any more. */
  forget(iova: bigint, size: number): void {
    if (this.has(iova, size)) {
      this.#sizes.delete(iova);
      return;
    }
    const end = iova + BigInt(size);
    for (const start of this.#sizes.keys()) if (start >= iova && start < end) this.#sizes.delete(start);
  }
}

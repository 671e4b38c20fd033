/** Numbers from 1, the lowest free one first (the kernel's xa_alloc and ida_alloc_range with a minimum of 1). */
export class IdAllocator {
  readonly #taken = new Set<number>();
  #lowest = 1;

  /** @returns undefined when all up to `last` are taken. */
  allocate(last: number): number | undefined {
    let id = this.#lowest;
    while (this.#taken.has(id)) id++;
    this.#lowest = id;
    if (id > last) return undefined;
    this.#taken.add(id);
    return id;
  }

  free(id: number): void {
    this.#taken.delete(id);
    this.#lowest = Math.min(this.#lowest, id);
  }
}

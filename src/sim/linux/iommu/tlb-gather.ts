/** Addresses whose translations are to be forgotten by the SMMU in one go: the kernel's `struct iommu_iotlb_gather`. */
export class TlbGather {
  #start = Number.POSITIVE_INFINITY;
  #end = 0;
  #pageSize = 0;

  get start(): number {
    return this.#start;
  }

  /** Bytes. */
  get size(): number {
    return Math.max(0, this.#end - this.#start);
  }

  /** Bytes of the pages gathered; 0 while there are none. */
  get pageSize(): number {
    return this.#pageSize;
  }

  /** Whether pages must wait for the next round: another size, or not next to what is there (iommu_iotlb_gather_add_page). */
  conflicts(iova: number, length: number, pageSize: number): boolean {
    if (this.#pageSize === 0) return false;
    return this.#pageSize !== pageSize || iova > this.#end || iova + length < this.#start;
  }

  add(iova: number, length: number, pageSize: number): void {
    this.#start = Math.min(this.#start, iova);
    this.#end = Math.max(this.#end, iova + length);
    this.#pageSize = pageSize;
  }

  /** A range, of pages of whatever size (iommu_iotlb_gather_add_range). */
  addRange(iova: number, length: number): void {
    this.#start = Math.min(this.#start, iova);
    this.#end = Math.max(this.#end, iova + length);
  }

  clear(): void {
    this.#start = Number.POSITIVE_INFINITY;
    this.#end = 0;
    this.#pageSize = 0;
  }
}

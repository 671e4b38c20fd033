import { IospanError } from "../errors.js";
import { hex, type Iova, type IovaRange, iova as toIova } from "../iova.js";

/** What a device wrote to: a bit for each page of a range of IOVAs, as the kernel tells it. */
export class DirtyPages {
  /** The first address of the range. */
  readonly iova: Iova;
  /** Bytes of the range. */
  readonly size: number;
  /** Bytes that one bit stands for. Pages of the IOMMU may be larger: then all bits of a page are set together. */
  readonly pageSize: number;
  /** The bits, lowest first: page n is bit n % 8 of byte n / 8. */
  readonly bitmap: Uint8Array;

  /** @param bitmap as many bits as the range has pages; what follows is ignored */
  constructor(range: { readonly iova: Iova; readonly size: number }, pageSize: number, bitmap: Uint8Array) {
    this.iova = range.iova;
    this.size = range.size;
    this.pageSize = pageSize;
    this.bitmap = bitmap;
  }

  /** How many pages of {@link pageSize} bytes were written to. */
  get count(): number {
    let pages = 0;
    for (let page = 0; page < this.#pages; page++) if (this.#isDirty(page)) pages += 1;
    return pages;
  }

  /**
   * Whether the page with this address was written to.
   * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for one outside of the range, and for what is no IOVA.
   */
  isDirty(iova: Iova): boolean {
    const offset = toIova(iova) - this.iova;
    if (offset < 0n || offset >= BigInt(this.size)) {
      const range = `${hex(this.iova)} to ${hex(this.iova + BigInt(this.size) - 1n)}`;
      const message = `IOVA ${hex(iova)} is not in the range that was asked about, ${range}`;
      throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", message, { hint: "ask the page table about that address" });
    }
    return this.#isDirty(Math.floor(Number(offset) / this.pageSize));
  }

  /** The written pages, those side by side as one range, ascending. */
  ranges(): readonly IovaRange[] {
    const ranges: IovaRange[] = [];
    for (let page = 0; page < this.#pages; page++) {
      if (!this.#isDirty(page)) continue;
      const first = page;
      while (page + 1 < this.#pages && this.#isDirty(page + 1)) page += 1;
      ranges.push({ start: this.#iovaOf(first), end: toIova(this.#iovaOf(page + 1) - 1n) });
    }
    return ranges;
  }

  get #pages(): number {
    return Math.ceil(this.size / this.pageSize);
  }

  #isDirty(page: number): boolean {
    return (((this.bitmap[page >>> 3] ?? 0) >>> (page & 7)) & 1) === 1;
  }

  #iovaOf(page: number): Iova {
    return toIova(this.iova + BigInt(page) * BigInt(this.pageSize));
  }
}

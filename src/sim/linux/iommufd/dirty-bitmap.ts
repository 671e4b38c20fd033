import type { AddressSpace } from "../mm/address-space.js";
import { refuse } from "../refusal.js";

/** What the bits of a bitmap stand for. */
export interface BitmapRange {
  readonly iova: bigint;
  readonly length: bigint;
  /** Bytes that one bit stands for: a power of two, or its lowest bit counts. */
  readonly pageSize: bigint;
}

const MOST_PAGES = 2 ** 32;

/** Bits for the pages of a range, to be set in a program's memory: the kernel's `struct iova_bitmap` (iova_bitmap.c). */
export class DirtyBitmap {
  readonly #first: bigint;
  readonly #pageSize: bigint;
  readonly #pages: number;
  readonly #bytes: Uint8Array;

  constructor({ iova, length, pageSize }: BitmapRange) {
    this.#first = iova;
    this.#pageSize = pageSize & -pageSize;
    this.#pages = Number((length - 1n) / this.#pageSize) + 1;
    if (this.#pages > MOST_PAGES) refuse("ENOSYS", "bitmaps of more than 2^32 pages are not simulated");
    this.#bytes = new Uint8Array(Math.ceil(this.#pages / 8));
  }

  /** Sets the bits of a page or block, as far as the range reaches. */
  set(iova: number, size: number): void {
    const from = Number((BigInt(iova) - this.#first) / this.#pageSize);
    const to = Number((BigInt(iova) + BigInt(size) - 1n - this.#first) / this.#pageSize);
    for (let page = Math.max(0, from); page <= Math.min(to, this.#pages - 1); page++) {
      this.#bytes[page >>> 3] = (this.#bytes[page >>> 3] ?? 0) | (1 << (page & 7));
    }
  }

  /** Bits that the program had set stay. Refuses where its memory is not there. */
  addTo(memory: AddressSpace, address: number): void {
    const before = memory.read(address, this.#bytes.length);
    memory.write(
      address,
      before.map((byte, index) => byte | (this.#bytes[index] ?? 0)),
    );
  }
}

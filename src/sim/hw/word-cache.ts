import type { Interval } from "../interval-map.js";

/** Pages that are remembered; a power of two. */
const SLOTS = 4096;
const NONE = new Int32Array(0);

/**
 * Remembers where the bytes of pages lie that were read or written as words, so that a table walk need not search for each
 * descriptor. A page that is not RAM, or not aligned in its storage, is not remembered.
 */
export class WordCache {
  /** The lower half of what {@link readPair} read, signed. */
  low = 0;
  /** The upper half. */
  high = 0;
  readonly #perPage: number;
  readonly #find: (address: number) => Interval<{ readonly bytes: Uint8Array<ArrayBuffer> }> | undefined;
  readonly #pageSize: number;
  readonly #pages = new Float64Array(SLOTS).fill(-1);
  readonly #words: Int32Array[] = new Array<Int32Array>(SLOTS).fill(NONE);

  /** @param find the piece of RAM that an address lies in */
  constructor(
    pageSize: number,
    find: (address: number) => Interval<{ readonly bytes: Uint8Array<ArrayBuffer> }> | undefined,
  ) {
    this.#pageSize = pageSize;
    this.#perPage = 1 / pageSize;
    this.#find = find;
  }

  /** The word at an address, unsigned; -1 when it is not in RAM or not aligned. */
  read(address: number): number {
    const page = Math.floor(address * this.#perPage);
    const slot = page & (SLOTS - 1);
    if (this.#pages[slot] !== page && !this.#fill(page, slot)) return -1;
    const offset = (address - page * this.#pageSize) | 0;
    if ((offset & 3) !== 0) return -1;
    return ((this.#words[slot] as Int32Array)[offset >>> 2] as number) >>> 0;
  }

  /** Reads 8 aligned bytes into {@link low} and {@link high}. @returns false when they are not in RAM or not aligned */
  readPair(address: number): boolean {
    const page = Math.floor(address * this.#perPage);
    const slot = page & (SLOTS - 1);
    if (this.#pages[slot] !== page && !this.#fill(page, slot)) return false;
    const offset = (address - page * this.#pageSize) | 0;
    if ((offset & 7) !== 0) return false;
    const words = this.#words[slot] as Int32Array;
    this.low = words[offset >>> 2] as number;
    this.high = words[(offset >>> 2) + 1] as number;
    return true;
  }

  /** @returns false when nothing was written: the address is not in RAM or not aligned. */
  write(address: number, value: number): boolean {
    const page = Math.floor(address * this.#perPage);
    const slot = page & (SLOTS - 1);
    if (this.#pages[slot] !== page && !this.#fill(page, slot)) return false;
    const offset = (address - page * this.#pageSize) | 0;
    if ((offset & 3) !== 0) return false;
    (this.#words[slot] as Int32Array)[offset >>> 2] = value;
    return true;
  }

  /** Pages in this range lie elsewhere from now on, or nowhere. */
  forget(address: number, length: number): void {
    const first = Math.floor(address * this.#perPage);
    const count = Math.ceil((address + length) * this.#perPage) - first;
    if (count >= SLOTS) {
      this.#pages.fill(-1);
      this.#words.fill(NONE);
      return;
    }
    for (let page = first; page < first + count; page++) {
      const slot = page & (SLOTS - 1);
      if (this.#pages[slot] !== page) continue;
      this.#pages[slot] = -1;
      this.#words[slot] = NONE;
    }
  }

  #fill(page: number, slot: number): boolean {
    const start = page * this.#pageSize;
    const found = this.#find(start);
    if (found === undefined) return false;
    const { bytes } = found.value;
    const offset = bytes.byteOffset + start - found.start;
    if ((offset & 3) !== 0) return false;
    this.#pages[slot] = page;
    this.#words[slot] = new Int32Array(bytes.buffer, offset, this.#pageSize >>> 2);
    return true;
  }
}

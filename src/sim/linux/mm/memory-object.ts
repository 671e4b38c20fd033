import type { PhysicalMemory } from "../../hw/physical-memory.js";
import { IntervalMap } from "../../interval-map.js";
import { refuse } from "../refusal.js";
import type { HugePagePool } from "./huge-pages.js";

/** Physically consecutive memory. */
export interface Extent {
  readonly address: number;
  readonly length: number;
}

/** Storage for memory that was not touched yet, while somebody can still reach it. */
interface Promised {
  readonly buffer: WeakRef<ArrayBuffer>;
  /** Bytes into the buffer. */
  readonly offset: number;
}

const THP = 2 ** 21;

/**
 * What a mapping of memory maps: anonymous memory or a memfd. Pages appear when they are first touched, in runs as
 * transparent huge pages would: 2 MiB at a time, congruent with their virtual address.
 */
export class MemoryObject {
  /** Bytes of a page: the machine's, or a huge page's. */
  readonly pageSize: number;
  readonly length: number;
  /** A file: its pages stay until it is closed and mapped nowhere. Those of anonymous memory go with their mapping. */
  readonly isFile: boolean;
  readonly #physical: PhysicalMemory;
  readonly #pool: HugePagePool | undefined;
  readonly #pages = new IntervalMap<number>((address, from) => address + from);
  readonly #promised = new IntervalMap<Promised>((promised, from) => ({ ...promised, offset: promised.offset + from }));
  /** The virtual address of the first byte modulo 2 MiB. */
  #phase = 0;
  #fileOpen = true;
  #reserved = 0;

  constructor(
    physical: PhysicalMemory,
    length: number,
    options: { readonly pool?: HugePagePool | undefined; readonly isFile: boolean },
  ) {
    this.#physical = physical;
    this.#pool = options.pool;
    this.isFile = options.isFile;
    this.length = length;
    this.pageSize = options.pool?.pageSize ?? physical.pageSize;
  }

  /** A mapping is made, its first byte at this virtual address. */
  mapped(address: number): void {
    this.#phase = address % THP;
  }

  /** Before the first mapping: takes huge pages out of their pool. */
  reserve(): void {
    if (this.#pool === undefined || this.#reserved > 0) return;
    this.#pool.take(this.length);
    this.#reserved = this.length;
  }

  /** A mapping of [from, to) is gone. */
  unmapped(from: number, to: number): void {
    if (!this.isFile) this.#drop(from, to);
  }

  /** No mapping is left. */
  mappedNowhere(): void {
    if (this.isFile && !this.#fileOpen) this.#drop(0, this.length);
  }

  /** The file's last descriptor is gone. */
  closed(mappedSomewhere: boolean): void {
    this.#fileOpen = false;
    if (!mappedSomewhere) this.#drop(0, this.length);
  }

  /**
   * The physical memory behind [from, to), which exists from now on.
   * @param area the mapping it is touched through: what comes along with it lies inside
   */
  touch(from: number, to: number, area: { readonly from: number; readonly to: number }): readonly Extent[] {
    for (const [start, end] of this.#pages.gaps(from, to)) this.#populate(start, end, area);
    return this.extents(from, to);
  }

  /** Gives [from, to), where nothing was touched yet, this storage. */
  populateWith(from: number, storage: Uint8Array<ArrayBuffer>): void {
    const alignment = Math.max(this.pageSize, storage.length >= THP ? THP : 0);
    const phase = (this.#phase + from) % Math.max(alignment, 1);
    const address =
      this.#physical.allocate(storage, alignment, this.#pool === undefined ? phase : 0) ??
      refuse("ENOMEM", "no room in the machine's memory");
    this.#pages.insert(from, from + storage.length, address);
  }

  /** What [from, from + length) is to be stored in once it is touched: until then it takes no memory. */
  promise(from: number, length: number, promised: Promised): void {
    this.#promised.insert(from, from + length, promised);
  }

  /** Whether nothing in [from, to) was touched yet. */
  isUntouched(from: number, to: number): boolean {
    return this.#pages.first(from, to) === undefined;
  }

  /** What exists of the physical memory behind [from, to). */
  extents(from: number, to: number): readonly Extent[] {
    return this.#pages.within(from, to).map(({ start, end, value }) => ({ address: value, length: end - start }));
  }

  /** Populates a hole from one 2 MiB boundary of virtual addresses to the next, as far as the mapping reaches. */
  #populate(from: number, to: number, area: { readonly from: number; readonly to: number }): void {
    const unit = Math.max(this.pageSize, THP);
    const boundary = (offset: number) => Math.floor((offset + this.#phase) / unit) * unit - this.#phase;
    let start = Math.max(area.from, boundary(from));
    while (start < to) {
      const end = Math.min(area.to, boundary(start) + unit);
      for (const [low, high] of this.#pages.gaps(start, end)) this.#fill(low, high);
      start = end;
    }
  }

  #fill(from: number, to: number): void {
    for (const { start, end, value } of this.#promised.remove(from, to)) {
      const buffer = value.buffer.deref();
      if (buffer !== undefined) this.populateWith(start, new Uint8Array(buffer, value.offset, end - start));
    }
    for (const [low, high] of this.#pages.gaps(from, to)) this.populateWith(low, new Uint8Array(high - low));
  }

  #drop(from: number, to: number): void {
    this.#promised.remove(from, to);
    for (const { start, end, value } of this.#pages.remove(from, to)) this.#physical.release(value, end - start);
    // On Linux a huge page that is pinned returns to its pool when it is unpinned; here with its mapping.
    const returned = Math.min(this.#reserved, to - from);
    if (this.#pool === undefined || returned === 0) return;
    this.#pool.give(returned);
    this.#reserved -= returned;
  }
}

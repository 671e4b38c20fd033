import type { PhysicalMemory } from "../../hw/physical-memory.js";
import { IntervalMap } from "../../interval-map.js";
import type { PageSource } from "../files/page-source.js";
import type { Revocation } from "../files/revocation.js";
import type { Extent } from "../mm/memory-object.js";
import type { Process } from "../process.js";
import { refuse } from "../refusal.js";

/** Against whose RLIMIT_MEMLOCK pins count: nobody's (CAP_IPC_LOCK when it was mapped), the user's, or the process's. */
export type Accounting = "none" | "user" | "process";

/** Who pins, and where. */
export interface PinningKernel {
  readonly process: Process;
  readonly physical: PhysicalMemory;
}

interface Hold {
  readonly from: number;
  readonly to: number;
}

interface Pinned {
  readonly address: number;
  /** As opposed to registers, which are neither pinned nor charged. */
  readonly isRam: boolean;
}

/**
 * Memory that mappings refer to: the kernel's `struct iopt_pages` (drivers/iommu/iommufd/pages.c). A page is pinned and counted
 * once, however many mappings and IOMMUs use it, from the first that does to the last.
 * Offsets are bytes from the start of the source.
 */
export class UserPages {
  /** Devices may write: pages are pinned for that, and copies may be for writing, too. */
  readonly writable: boolean;
  readonly #source: PageSource;
  readonly #process: Process;
  readonly #physical: PhysicalMemory;
  readonly #accounting: Accounting;
  readonly #pinned = new IntervalMap<Pinned>(({ address, isRam }, from) => ({ address: address + from, isRam }));
  readonly #holds: Hold[] = [];
  #areas = 0;

  constructor(source: PageSource, writable: boolean, { process, physical }: PinningKernel, accounting: Accounting) {
    this.#source = source;
    this.writable = writable;
    this.#process = process;
    this.#physical = physical;
    this.#accounting = process.hasCapability("CAP_IPC_LOCK") ? "none" : accounting;
  }

  /** Where it begins, in the process or in its file. */
  get start(): number {
    return this.#source.start;
  }

  get isFile(): boolean {
    return this.#source.isFile;
  }

  /** Says when the pages are taken back; undefined where they never are. */
  get revocation(): Revocation | undefined {
    return this.#source.revocation;
  }

  /** A mapping refers to it. */
  mapped(): void {
    this.#areas += 1;
  }

  /** A mapping refers to it no longer. */
  unmapped(): void {
    this.#areas -= 1;
    this.releaseUnused();
  }

  /** It goes where no mapping refers to it (iopt_put_pages). */
  releaseUnused(): void {
    if (this.#areas === 0) this.#source.released();
  }

  /** Pins what of [from, to) is not pinned, all or nothing. What has no page of RAM behind it is EFAULT. */
  hold(from: number, to: number): void {
    const hold = this.#wholePages(from, to);
    const done: Hold[] = [];
    try {
      for (const [start, end] of this.#pinned.gaps(hold.from, hold.to)) this.#pin(start, end, done);
    } catch (error) {
      for (const part of done) this.#unpin(part.from, part.to);
      throw error;
    }
    this.#holds.push(hold);
  }

  /** Ends a {@link hold} of the same range. */
  release(from: number, to: number): void {
    const { from: start, to: end } = this.#wholePages(from, to);
    const index = this.#holds.findIndex((hold) => hold.from === start && hold.to === end);
    if (index < 0) throw new RangeError(`[${from}, ${to}) is not held`);
    this.#holds.splice(index, 1);
    let at = start;
    // What others hold stays.
    for (const hold of [...this.#holds].sort((a, b) => a.from - b.from)) {
      if (hold.from > at) this.#unpin(at, Math.min(hold.from, end));
      at = Math.max(at, hold.to);
    }
    this.#unpin(at, end);
  }

  /** Makes two holds of one, at a multiple of a page. */
  split(from: number, at: number, to: number): void {
    const whole = this.#wholePages(from, to);
    const index = this.#holds.findIndex((hold) => hold.from === whole.from && hold.to === whole.to);
    if (index >= 0) this.#holds.splice(index, 1, this.#wholePages(from, at), this.#wholePages(at, to));
  }

  /** Where the bytes [from, to), which are held, are in physical memory; what goes on there is one. */
  extents(from: number, to: number): readonly Extent[] {
    const extents: Extent[] = [];
    for (const { start, end, value } of this.#pinned.within(from, to)) {
      const { address } = value;
      const before = extents.at(-1);
      const goesOn = before !== undefined && before.address + before.length === address;
      if (goesOn) extents.pop();
      extents.push(goesOn ? { ...before, length: before.length + end - start } : { address, length: end - start });
    }
    return extents;
  }

  #pin(from: number, to: number, done: Hold[]): void {
    let at = from;
    for (const { address, length, isRam } of this.#source.touch(from, to)) {
      // Registers have no struct page to pin (FOLL_LONGTERM of a PFNMAP).
      if (!isRam && !this.#source.offersRegisters) refuse("EFAULT");
      if (isRam) {
        this.#charge(length / this.#physical.pageSize);
        this.#physical.hold(address, length);
      }
      this.#pinned.insert(at, at + length, { address, isRam });
      done.push({ from: at, to: at + length });
      at += length;
    }
  }

  #unpin(from: number, to: number): void {
    if (from >= to) return;
    for (const { start, end, value } of this.#pinned.remove(from, to)) {
      if (!value.isRam) continue;
      this.#physical.release(value.address, end - start);
      this.#uncharge((end - start) / this.#physical.pageSize);
    }
  }

  /** do_update_pinned. */
  #charge(pages: number): void {
    const process = this.#process;
    const limit = process.limits.memlock / this.#physical.pageSize;
    const used = this.#accounting === "user" ? process.userLockedPages : process.lockedPages;
    if (this.#accounting !== "none" && used + pages > limit) refuse("ENOMEM");
    this.#count(pages);
  }

  #uncharge(pages: number): void {
    this.#count(-pages);
  }

  #count(pages: number): void {
    if (this.#accounting === "user") this.#process.userLockedPages += pages;
    if (this.#accounting === "process") this.#process.lockedPages += pages;
    this.#process.pinnedPages += pages;
  }

  #wholePages(from: number, to: number): Hold {
    const { pageSize } = this.#physical;
    return { from: Math.floor(from / pageSize) * pageSize, to: Math.ceil(to / pageSize) * pageSize };
  }
}

import { IospanError } from "../errors.js";
import { hex, type Iova, type IovaRange, iova } from "../iova.js";
import { contains, formatRange, normalize, outsideRanges, wholePages } from "./iova-ranges.js";
import { OrderedMap } from "./ordered-map.js";

/** Where an allocation may lie. Absent: at any page. */
export interface AllocateOptions {
  /** The IOVA is to be a multiple of this many bytes, a power of two. Default: the page size. */
  readonly alignment?: number | bigint | undefined;
  /**
   * The IOVA is to leave the same remainder as `address` when divided by `modulus`, a power of two.
   * With the virtual address of a buffer in huge pages and the size of those, the IOMMU can map it in blocks of that size.
   */
  readonly congruentTo?: { readonly address: number | bigint; readonly modulus: number | bigint } | undefined;
}

/** In pages: first pages p with p ≡ remainder (mod modulus). */
interface Placement {
  readonly modulus: number;
  readonly remainder: number;
}

const ANYWHERE: Placement = { modulus: 1, remainder: 0 };

/** How many of the lowest holes are tried for an aligned allocation before one so large is taken that it must fit. */
const TRIES = 4;

/**
 * Hands out I/O virtual addresses: which parts of the valid ranges are live (taken) and which are free.
 * It only keeps the books; mapping, and not releasing what an IOMMU may still translate, is the caller's part.
 *
 * Guarantees: live ranges never overlap, lie inside the valid ranges and consist of whole pages. A call that throws has changed nothing.
 * Every method costs O(log n) in live ranges and holes, except where it says otherwise.
 *
 * Inside, everything is counted in pages, as plain numbers: 2^64 bytes are 2^52 pages of 4 KiB, which a double holds exactly.
 * One ordered map holds all extents, free and live, by first page. Its value is the number of pages, negative for live ones,
 * so that the first entry with a value of at least n is the lowest hole of at least n pages.
 */
export class IovaAllocator {
  #ranges: readonly IovaRange[];
  #pageSize: number;
  #extents: OrderedMap;
  #liveCount = 0;

  /**
   * @param ranges what may be handed out, in any order. Pages that are not entirely inside are left out.
   * @param pageSize in bytes, a power of two: the smallest page size all IOMMUs have in common.
   * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a page size that is no power of two, or one so small that page numbers would reach 2^53.
   */
  constructor(ranges: readonly IovaRange[], pageSize: number) {
    this.#ranges = normalize(ranges);
    this.#pageSize = powerOfTwo(pageSize, "page size");
    this.#extents = freeExtents(this.#ranges, pageSize);
  }

  /** The valid ranges, ascending and disjoint. */
  get ranges(): readonly IovaRange[] {
    return this.#ranges;
  }

  /** In bytes; every live range is a multiple of it, at a multiple of it. */
  get pageSize(): number {
    return this.#pageSize;
  }

  /** The number of live ranges. */
  get liveCount(): number {
    return this.#liveCount;
  }

  /** The most bytes that {@link allocate} could hand out in one piece. Exact, even above 2^53. */
  get largestFree(): number {
    const extents = this.#extents;
    const pages = extents.largestValue;
    if (pages <= 0) return 0;
    extents.firstAtLeast(pages);
    const lacksPageZero = extents.key === 0 && !extents.nextAtLeast(pages);
    return (lacksPageZero ? pages - 1 : pages) * this.#pageSize;
  }

  /**
   * Takes `size` bytes where they fit lowest, and returns their first address. Never 0: a device that is given a null pointer by mistake shall fault.
   * With an alignment or congruence, one of the lowest holes is used if it fits, and otherwise one that is larger by the modulus and fits for certain;
   * only when there is none are all the others looked at, in O(holes).
   * @throws IospanError `ERR_IOSPAN_NO_IOVA` when no hole fits, `ERR_IOSPAN_MAP_ALIGNMENT` for a size that is not a multiple of the page size,
   * `ERR_IOSPAN_INVALID_ARGUMENT` for an alignment or modulus that is no power of two, or two that contradict each other.
   */
  allocate(size: number | bigint, options?: AllocateOptions): Iova {
    const pages = this.#pagesIn(size);
    const placement = options === undefined ? ANYWHERE : this.#placement(options);
    const page = this.#moveToHole(pages, placement);
    if (page === undefined) throw this.#noIova(size, pages, options);
    this.#take(page, pages);
    return this.#addressOf(page);
  }

  /**
   * Takes exactly the `size` bytes from `start`, an IOVA of the caller's choice; 0 is allowed here.
   * @throws IospanError `ERR_IOSPAN_MAP_OVERLAP` if any of it is live, `ERR_IOSPAN_MAP_RANGE` if any of it is outside the valid ranges,
   * `ERR_IOSPAN_MAP_ALIGNMENT` unless both are multiples of the page size.
   */
  reserve(start: number | bigint, size: number | bigint): Iova {
    const pages = this.#pagesIn(size);
    const page = this.#toPages(iova(start));
    if (page === undefined) throw misaligned(`the IOVA ${hex(start)}`, this.#pageSize);
    if (!moveToFree(this.#extents, page, pages)) throw this.#cannotReserve(page, pages);
    this.#take(page, pages);
    return this.#addressOf(page);
  }

  /**
   * Gives the live range that starts at `start` back; free neighbours become one hole.
   * @throws IospanError `ERR_IOSPAN_RELEASED` if no live range starts there.
   */
  release(start: number | bigint): void {
    const extents = this.#extents;
    const page = this.#toPages(start);
    const found = page !== undefined && extents.seek(page) && extents.key === page && extents.value < 0;
    if (!found) throw this.#notLive(start);
    extents.value = -extents.value;
    joinNextHole(extents);
    if (extents.previous()) joinNextHole(extents);
    this.#liveCount--;
  }

  /**
   * Changes what is valid: less when a device is attached, more again when one is detached. O(n).
   * @throws IospanError `ERR_IOSPAN_MAP_RANGE` naming a live range that would lie outside.
   */
  setRanges(ranges: readonly IovaRange[]): void {
    const normal = normalize(ranges);
    this.#extents = this.#rebuilt(normal, this.#pageSize);
    this.#ranges = normal;
  }

  /**
   * Changes the page size, in bytes, a power of two. O(n).
   * @throws IospanError `ERR_IOSPAN_MAP_ALIGNMENT` naming a live range that is not made of whole pages of that size.
   */
  setPageSize(pageSize: number): void {
    this.#extents = this.#rebuilt(this.#ranges, powerOfTwo(pageSize, "page size"));
    this.#pageSize = pageSize;
  }

  /** The live range that `address` lies in, if any. */
  find(address: number | bigint): IovaRange | undefined {
    const page = Number(iova(address) / BigInt(this.#pageSize));
    const extents = this.#extents;
    if (!extents.seek(page) || extents.value > 0 || page >= extents.key - extents.value) return undefined;
    return this.#rangeOf(extents.key, -extents.value);
  }

  /** The live ranges in ascending order. Taking and releasing while it runs is allowed: it goes on at the next higher address. */
  *liveRanges(): Generator<IovaRange, void, undefined> {
    yield* this.#extentsWhere((value) => value < 0);
  }

  /** The holes in ascending order, page 0 included. The same rules as for {@link liveRanges}. */
  *freeRanges(): Generator<IovaRange, void, undefined> {
    yield* this.#extentsWhere((value) => value > 0);
  }

  *#extentsWhere(wanted: (value: number) => boolean): Generator<IovaRange, void, undefined> {
    let page = -1;
    for (;;) {
      // The cursor is shared, so whoever ran since the last yield may have moved it.
      this.#extents.seek(page);
      if (!this.#extents.next()) return;
      page = this.#extents.key;
      const value = this.#extents.value;
      if (wanted(value)) yield this.#rangeOf(page, Math.abs(value));
    }
  }

  /** Moves the cursor to a hole that `pages` fit into as `placement` wants it; returns the first page to take. */
  #moveToHole(pages: number, placement: Placement): number | undefined {
    const lowest = firstFit(this.#extents, pages, pages, placement, TRIES);
    if (lowest !== undefined || placement.modulus === 1) return lowest;
    const certain = firstFit(this.#extents, pages + placement.modulus, pages, placement, 1);
    return certain ?? firstFit(this.#extents, pages, pages, placement, Number.POSITIVE_INFINITY);
  }

  #take(page: number, pages: number): void {
    splitFree(this.#extents, page, pages);
    this.#liveCount++;
  }

  /** The extents as they are with other ranges or another page size, made from scratch: that cannot fail half-way. */
  #rebuilt(ranges: readonly IovaRange[], pageSize: number): OrderedMap {
    const old = this.#extents;
    const extents = freeExtents(ranges, pageSize);
    const scale = this.#pageSize / pageSize;
    old.seek(-1);
    while (old.next()) {
      if (old.value > 0) continue;
      const [page, pages] = [old.key * scale, -old.value * scale];
      const fits = Number.isInteger(page) && Number.isInteger(pages) && moveToFree(extents, page, pages);
      if (!fits) throw this.#cannotStay(ranges, pageSize);
      splitFree(extents, page, pages);
    }
    return extents;
  }

  // Bytes and pages. The product of a page number and the page size is exact as a double, since one of them is a power of two.

  #addressOf(page: number): Iova {
    return BigInt(page * this.#pageSize) as Iova;
  }

  #rangeOf(page: number, pages: number): IovaRange {
    return { start: this.#addressOf(page), end: (this.#addressOf(page + pages) - 1n) as Iova };
  }

  /** Undefined for anything but whole pages. */
  #toPages(bytes: number | bigint): number | undefined {
    const pages = Number(bytes) / this.#pageSize;
    return Number.isInteger(pages) && isExact(bytes) ? pages : undefined;
  }

  #pagesIn(size: number | bigint): number {
    const pages = this.#toPages(size);
    if (pages !== undefined && pages > 0) return pages;
    if (size > 0) throw misaligned(`the size ${hex(size)}`, this.#pageSize);
    throw invalid(`the size ${size}: it is to be a positive number of bytes`);
  }

  #placement({ alignment = 1, congruentTo = { address: 0, modulus: 1 } }: AllocateOptions): Placement {
    const aligned = Math.max(1, powerOfTwo(alignment, "alignment") / this.#pageSize);
    const modulus = Math.max(1, powerOfTwo(congruentTo.modulus, "modulus") / this.#pageSize);
    const address = this.#toPages(iova(congruentTo.address));
    if (address === undefined) throw misaligned(`the address ${hex(congruentTo.address)}`, this.#pageSize);
    const remainder = address % modulus;
    if (remainder % Math.min(aligned, modulus) === 0) return { modulus: Math.max(aligned, modulus), remainder };
    throw invalid(`no IOVA is both a multiple of ${hex(alignment)} and congruent to ${formatCongruence(congruentTo)}`);
  }

  // What the errors say

  #noIova(size: number | bigint, pages: number, { alignment, congruentTo }: AllocateOptions = {}): IospanError {
    const wishes = [`no free hole for ${hex(size)} bytes`];
    if (alignment !== undefined) wishes.push(`aligned to ${hex(alignment)}`);
    if (congruentTo !== undefined) wishes.push(`congruent to ${formatCongruence(congruentTo)}`);
    const largest = this.largestFree;
    const advice =
      largest < pages * this.#pageSize ? "release something, or ask for less" : "it would fit without the alignment";
    return new IospanError("ERR_IOSPAN_NO_IOVA", wishes.join(", "), {
      hint: `the largest free hole has ${hex(largest)} bytes: ${advice}`,
    });
  }

  #cannotReserve(page: number, pages: number): IospanError {
    const wanted = this.#rangeOf(page, pages);
    if (!contains(this.#ranges, wanted.start, wanted.end - wanted.start + 1n))
      return outsideRanges(formatRange(wanted), wanted, this.#ranges);
    if (!this.#extents.seek(page) || this.#extents.value > 0) this.#extents.next();
    const live = formatRange(this.#rangeAtCursor());
    return new IospanError("ERR_IOSPAN_MAP_OVERLAP", `${formatRange(wanted)} overlaps ${live}, which is taken`, {
      hint: "unmap what is there first, or leave out `iova` to have a free one chosen",
    });
  }

  /** For the live range at the cursor, which other ranges or another page size would cut. */
  #cannotStay(ranges: readonly IovaRange[], pageSize: number): IospanError {
    const live = this.#rangeAtCursor();
    const what = `the live range ${formatRange(live)}`;
    return pageSize === this.#pageSize ? outsideRanges(what, live, ranges) : misaligned(what, pageSize);
  }

  #notLive(start: number | bigint): IospanError {
    const around = this.find(start);
    const hint = around === undefined ? "it may have been released already" : `it lies inside ${formatRange(around)}`;
    return new IospanError("ERR_IOSPAN_RELEASED", `no live range starts at ${hex(start)}`, { hint });
  }

  #rangeAtCursor(): IovaRange {
    return this.#rangeOf(this.#extents.key, Math.abs(this.#extents.value));
  }
}

// Extents: first page → number of pages, negative for live ones. Holes that touch are one entry.

function freeExtents(ranges: readonly IovaRange[], pageSize: number): OrderedMap {
  const extents = new OrderedMap();
  for (const { first, count } of ranges.map((range) => wholePages(range, pageSize))) {
    if (count > 0) extents.insertAfter(first, count);
  }
  return extents;
}

/** Moves the cursor to the hole that holds all of these pages. False: there is none, and the cursor is at the extent that holds the first or precedes it. */
function moveToFree(extents: OrderedMap, page: number, pages: number): boolean {
  return extents.seek(page) && page + pages <= extents.key + extents.value;
}

/** Makes these pages of the hole at the cursor live. */
function splitFree(extents: OrderedMap, page: number, pages: number): void {
  if (page > extents.key) {
    cutHole(extents, page);
    extents.next();
  }
  if (pages < extents.value) cutHole(extents, page + pages);
  extents.value = -pages;
}

/** Makes two holes of the one at the cursor, which is then at the lower one. The upper one comes first: thus the largest value sinks only once. */
function cutHole(extents: OrderedMap, page: number): void {
  const lower = page - extents.key;
  extents.insertAfter(page, extents.value - lower);
  extents.previous();
  extents.value = lower;
}

/** Makes one hole of the extent at the cursor and the next one if they are holes that touch. */
function joinNextHole(extents: OrderedMap): void {
  const pages = extents.value;
  const end = extents.key + pages;
  if (pages < 0 || !extents.next()) return;
  const joins = extents.value > 0 && extents.key === end;
  const more = extents.value;
  extents.previous();
  if (!joins) return;
  extents.value = pages + more;
  extents.removeNext();
}

/** Moves the cursor to the lowest hole of at least `atLeast` pages that fits, of the first `tries` such holes; returns the first page to take. */
function firstFit(
  extents: OrderedMap,
  atLeast: number,
  pages: number,
  placement: Placement,
  tries: number,
): number | undefined {
  let found = extents.firstAtLeast(atLeast);
  for (let tried = 0; found && tried < tries; tried++) {
    const page = lowestPage(extents.key, placement);
    if (page - extents.key <= extents.value - pages) return page;
    found = extents.nextAtLeast(atLeast);
  }
  return undefined;
}

/** The lowest page from `key` on that `placement` allows; never page 0. */
function lowestPage(key: number, { modulus, remainder }: Placement): number {
  const lowest = Math.max(1, key);
  return modulus === 1 ? lowest : Math.ceil((lowest - remainder) / modulus) * modulus + remainder;
}

function powerOfTwo(value: number | bigint, what: string): number {
  const number = Number(value);
  // The second way is right for all; the first spares nearly all callers a logarithm and a power.
  const small = Number.isInteger(number) && number > 0 && number < 2 ** 31;
  const isPower = small ? (number & (number - 1)) === 0 : 2 ** Math.round(Math.log2(number)) === number && number >= 1;
  if (isPower && isExact(value)) return number;
  throw invalid(`the ${what} ${value}: it is to be a power of two`);
}

/** Whether a bigint survived its conversion to a number. */
function isExact(value: number | bigint): boolean {
  return typeof value === "number" || Number(value) <= Number.MAX_SAFE_INTEGER || BigInt(Number(value)) === value;
}

function formatCongruence({ address, modulus }: { address: number | bigint; modulus: number | bigint }): string {
  return `${hex(address)} modulo ${hex(modulus)}`;
}

function invalid(what: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", what, { hint: "sizes are in bytes, alignments powers of two" });
}

function misaligned(what: string, pageSize: number): IospanError {
  return new IospanError("ERR_IOSPAN_MAP_ALIGNMENT", `${what} is not made of whole pages of ${hex(pageSize)} bytes`, {
    hint: `use a multiple of the page size, ${hex(pageSize)}`,
  });
}

import { IospanError } from "../errors.js";
import { hex, type Iova, type IovaRange, iova } from "../iova.js";

const LAST = 2n ** 64n - 1n;

/** All of them: 0 to 2^64-1. */
export const wholeIovaSpace: IovaRange = { start: iova(0), end: iova(LAST) };

/** The IOVA ranges that one party allows, typically the IOMMU in front of one interface. */
export interface IovaRangeSource {
  /** Who, as messages shall say it: `smmu3.0x000000000c000000`. */
  readonly source: string;
  readonly ranges: readonly IovaRange[];
}

/** A range of IOVAs that no mapping can use, and who is the reason. */
export interface RemovedIovaRange extends IovaRange {
  /** The sources that do not allow it, in the order they were given. */
  readonly by: readonly string[];
}

/** What all sources allow and, for all the rest of the 64-bit space, who does not. Both ascending. */
export interface ExplainedIovaRanges {
  readonly ranges: readonly IovaRange[];
  readonly removed: readonly RemovedIovaRange[];
}

/** The page sizes that one party supports: bit n set means 2^n bytes, as VFIO's `iova_pgsizes`. */
export interface PageSizeSource {
  readonly source: string;
  readonly bitmap: bigint;
}

/** What all sources support and, for every size that only some do, who does not. */
export interface ExplainedPageSizes {
  readonly bitmap: bigint;
  /** Ascending; `size` in bytes. */
  readonly removed: readonly { readonly size: number; readonly by: readonly string[] }[];
}

/**
 * The same addresses as ascending ranges with a gap between each two: sorted, overlapping and touching ones joined.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a range that ends before it starts, or outside 0 to 2^64-1.
 */
export function normalize(ranges: readonly IovaRange[]): IovaRange[] {
  const result: { start: Iova; end: Iova }[] = [];
  for (const range of [...ranges].sort(byStart)) {
    const { start, end } = checked(range);
    const last = result.at(-1);
    if (last === undefined || start > last.end + 1n) result.push({ start, end });
    else if (end > last.end) last.end = end;
  }
  return result;
}

/** The addresses in both; `a` and `b` normalized, and so is the result. */
export function intersect(a: readonly IovaRange[], b: readonly IovaRange[]): IovaRange[] {
  return complement(normalize([...complement(a), ...complement(b)]));
}

/** The addresses from 0 to 2^64-1 that are not in `ranges`, which are normalized, and so is the result. */
export function complement(ranges: readonly IovaRange[]): IovaRange[] {
  const result: IovaRange[] = [];
  let next = 0n;
  for (const { start, end } of ranges) {
    if (start > next) result.push({ start: iova(next), end: iova(start - 1n) });
    next = end + 1n;
  }
  if (next <= LAST) result.push({ start: iova(next), end: iova(LAST) });
  return result;
}

/**
 * The pages that lie entirely in `range`, by number: 2^64 bytes are 2^52 pages of 4 KiB, which a double holds exactly.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` if there are so many that it does not.
 */
export function wholePages({ start, end }: IovaRange, pageSize: number): { first: number; count: number } {
  const size = BigInt(pageSize);
  const first = Number((start + size - 1n) / size);
  const next = Number((end + 1n) / size);
  if (next <= Number.MAX_SAFE_INTEGER) return { first, count: Math.max(0, next - first) };
  throw new IospanError(
    "ERR_IOSPAN_INVALID_ARGUMENT",
    `pages of ${pageSize} bytes are too small to number up to ${hex(end)}`,
    { hint: "use pages of 4096 bytes or more" },
  );
}

/** Those of `ranges` that have an address in common with `range`. */
export function overlapping<R extends IovaRange>(ranges: readonly R[], range: IovaRange): R[] {
  return ranges.filter(({ start, end }) => start <= range.end && end >= range.start);
}

/**
 * Whether all of the `size` bytes from `start` lie in one of `ranges`, which are normalized. False if they run past 2^64-1.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a `start` that is no IOVA, or a size below 1.
 */
export function contains(ranges: readonly IovaRange[], start: number | bigint, size: number | bigint): boolean {
  const first = iova(start);
  const last = first + BigInt(size) - 1n;
  if (last < first)
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `a range of ${size} bytes`, {
      hint: "the size is to be 1 or more",
    });
  return ranges.some((range) => range.start <= first && last <= range.end);
}

/**
 * The addresses that every source allows, and for all others who does not.
 * Without any source that is the whole space: nobody objects.
 */
export function explainRanges(sources: readonly IovaRangeSource[]): ExplainedIovaRanges {
  const normal = sources.map(({ source, ranges }) => ({ source, ranges: normalize(ranges) }));
  const removed: { start: Iova; end: Iova; by: string[] }[] = [];
  for (const { start, end } of pieces(normal.flatMap(({ ranges }) => ranges))) {
    const by = normal.filter(({ ranges }) => !contains(ranges, start, 1)).map(({ source }) => source);
    const last = removed.at(-1);
    if (by.length === 0) continue;
    if (last !== undefined && last.end + 1n === start && sameItems(last.by, by)) last.end = end;
    else removed.push({ start, end, by });
  }
  return { ranges: complement(normalize(removed)), removed };
}

/**
 * The page sizes that every source supports, and for each size that only some do, who does not.
 * Without any source that is every size: nobody objects.
 */
export function intersectPageSizes(sources: readonly PageSizeSource[]): ExplainedPageSizes {
  const bitmap = sources.reduce((common, source) => common & source.bitmap, LAST);
  const any = sources.reduce((union, source) => union | source.bitmap, 0n);
  const removed = pageSizes(any & ~bitmap).map((size) => {
    const lacking = sources.filter((source) => (source.bitmap & BigInt(size)) === 0n);
    return { size, by: lacking.map(({ source }) => source) };
  });
  return { bitmap, removed };
}

/** The sizes in a bitmap, in bytes, ascending. Powers of two up to 2^63, so exact as numbers. */
export function pageSizes(bitmap: bigint): number[] {
  const sizes: number[] = [];
  for (let bit = 0; bit < 64; bit++) if ((bitmap >> BigInt(bit)) & 1n) sizes.push(2 ** bit);
  return sizes;
}

/** The smallest size in a bitmap, in bytes: what every mapping is a multiple of. Undefined for an empty bitmap. */
export function smallestPageSize(bitmap: bigint): number | undefined {
  return pageSizes(bitmap)[0];
}

/** `0x8000000-0x80fffff`, both ends inside, the way ranges are written in messages and logs. */
export function formatRange({ start, end }: IovaRange): string {
  return `${hex(start)}-${hex(end)}`;
}

/** The `ERR_IOSPAN_MAP_RANGE` for a `range`, described as `what`, that is not in `ranges`: it says what is in the way. */
export function outsideRanges(what: string, range: IovaRange, ranges: readonly IovaRange[]): IospanError {
  const [hole] = overlapping(complement(ranges), range);
  const where = hole === undefined ? `above ${hex(LAST)}` : `at ${formatRange(hole)}`;
  return new IospanError(
    "ERR_IOSPAN_MAP_RANGE",
    `${what} is outside the valid IOVA ranges: nothing can be mapped ${where}`,
    {
      hint: `the valid ranges are ${ranges.map(formatRange).join(", ") || "none"}`,
    },
  );
}

/** `0x8000000-0x80fffff: removed by smmu3.0x0c000000, smmu3.0x0c800000`. */
export function formatRemoved(removed: RemovedIovaRange): string {
  return `${formatRange(removed)}: removed by ${removed.by.join(", ")}`;
}

/** The whole space, cut wherever one of `ranges` starts or has ended. */
function pieces(ranges: readonly IovaRange[]): IovaRange[] {
  const cuts = new Set([0n, LAST + 1n, ...ranges.flatMap(({ start, end }) => [start, end + 1n])]);
  const ascending = [...cuts].sort((a, b) => (a < b ? -1 : 1));
  return ascending.slice(1).map((end, i) => ({ start: iova(ascending[i] ?? 0n), end: iova(end - 1n) }));
}

function checked({ start, end }: IovaRange): IovaRange {
  if (start <= end) return { start: iova(start), end: iova(end) };
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `the range ${hex(start)}-${hex(end)} ends before it starts`, {
    hint: "the end of a range is its last address, not the one after",
  });
}

function byStart(a: IovaRange, b: IovaRange): number {
  return a.start < b.start ? -1 : a.start > b.start ? 1 : 0;
}

function sameItems(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

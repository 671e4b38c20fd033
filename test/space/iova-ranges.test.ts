import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type IovaRange, iova } from "../../src/iova.js";
import {
  complement,
  contains,
  explainRanges,
  formatRange,
  formatRemoved,
  intersect,
  intersectPageSizes,
  normalize,
  outsideRanges,
  overlapping,
  pageSizes,
  smallestPageSize,
  wholeIovaSpace,
  wholePages,
} from "../../src/space/iova-ranges.js";

const LAST = 2n ** 64n - 1n;

function range(start: number | bigint, end: number | bigint): IovaRange {
  return { start: iova(start), end: iova(end) };
}

/** Few addresses, at both ends of the space and around 2^48, so that ranges meet often and every address can be asked about. */
const places = [0n, 2n ** 48n - 4n, LAST - 7n].flatMap((base) => Array.from({ length: 8 }, (_, i) => base + BigInt(i)));
const somewhere = fc.constantFrom(...places);
const someRanges = fc.array(
  fc.tuple(somewhere, somewhere).map(([a, b]) => (a < b ? range(a, b) : range(b, a))),
  { maxLength: 6 },
);

function has(ranges: readonly IovaRange[], address: bigint): boolean {
  return ranges.some(({ start, end }) => start <= address && address <= end);
}

function expectNormal(ranges: readonly IovaRange[]): void {
  for (const { start, end } of ranges) expect(start <= end).toBe(true);
  for (const [i, next] of ranges.slice(1).entries()) expect(ranges[i]!.end + 1n < next.start).toBe(true);
}

describe("ranges", () => {
  test("normalize joins what overlaps and what touches, and sorts", () => {
    const ranges = [range(0x3000, 0x3fff), range(0x1000, 0x1fff), range(0x2000, 0x27ff), range(0x3800, LAST)];
    expect(normalize(ranges)).toEqual([range(0x1000, 0x27ff), range(0x3000, LAST)]);
  });

  test("a range that ends before it starts is refused", () => {
    expect(() => normalize([range(1, 0)])).toThrow(expect.objectContaining({ code: "ERR_IOSPAN_INVALID_ARGUMENT" }));
    const tooFar = { start: iova(0), end: (LAST + 1n) as IovaRange["end"] };
    expect(() => normalize([tooFar])).toThrow(expect.objectContaining({ code: "ERR_IOSPAN_INVALID_ARGUMENT" }));
  });

  test("normalize, intersect and complement keep exactly the addresses they should", () => {
    fc.assert(
      fc.property(someRanges, someRanges, (first, second) => {
        const [a, b] = [normalize(first), normalize(second)];
        const [both, not] = [intersect(a, b), complement(a)];
        for (const result of [a, both, not]) expectNormal(result);
        for (const place of places) {
          expect(has(a, place)).toBe(has(first, place));
          expect(has(both, place)).toBe(has(a, place) && has(b, place));
          expect(has(not, place)).toBe(!has(a, place));
        }
      }),
    );
  });

  test("contains, at the last address too", () => {
    const ranges = [range(0, 0x7ffffff), range(0x8100000, LAST)];
    expect(contains(ranges, 0, 0x8000000)).toBe(true);
    expect(contains(ranges, 0, 0x8000001)).toBe(false);
    expect(contains(ranges, 0x7fff000, 0x102000)).toBe(false);
    expect(contains(ranges, 0x8100000, LAST - 0x8100000n + 1n)).toBe(true);
    expect(contains(ranges, LAST, 1)).toBe(true);
    expect(contains(ranges, LAST, 2)).toBe(false);
    expect(contains([wholeIovaSpace], 0, 2n ** 64n)).toBe(true);
    expect(() => contains(ranges, 0, 0)).toThrow(expect.objectContaining({ code: "ERR_IOSPAN_INVALID_ARGUMENT" }));
  });

  test("overlapping includes a range that shares one address", () => {
    const ranges = [range(0, 9), range(20, 29), range(40, 49)];
    expect(overlapping(ranges, range(9, 20))).toEqual([range(0, 9), range(20, 29)]);
    expect(overlapping(ranges, range(30, 39))).toEqual([]);
  });

  test("wholePages leaves out pages that are cut", () => {
    expect(wholePages(range(0x800, 0x37ff), 0x1000)).toEqual({ first: 1, count: 2 });
    expect(wholePages(range(0x1800, 0x1fff), 0x1000)).toEqual({ first: 2, count: 0 });
    expect(wholePages(range(0x1801, 0x1fe0), 0x1000)).toEqual({ first: 2, count: 0 });
    expect(wholePages(wholeIovaSpace, 0x1000)).toEqual({ first: 0, count: 2 ** 52 });
    expect(wholePages(range(0xf0, 0x10e), 0x100).count).toBe(0);
    expect(() => wholePages(wholeIovaSpace, 1024)).toThrow(
      expect.objectContaining({ code: "ERR_IOSPAN_INVALID_ARGUMENT" }),
    );
  });
});

describe("explained intersection", () => {
  const a = { source: "smmu A", ranges: [range(0, 0x7ffffff), range(0x8100000, 2n ** 48n - 1n)] };
  const b = { source: "smmu B", ranges: [range(0, 0x7ffffff), range(0x8100000, 2n ** 40n - 1n)] };

  test("names who removed each hole", () => {
    const { ranges, removed } = explainRanges([a, b]);
    expect(ranges).toEqual([range(0, 0x7ffffff), range(0x8100000, 2n ** 40n - 1n)]);
    expect(removed.map(formatRemoved)).toEqual([
      "0x8000000-0x80fffff: removed by smmu A, smmu B",
      "0x10000000000-0xffffffffffff: removed by smmu B",
      "0x1000000000000-0xffffffffffffffff: removed by smmu A, smmu B",
    ]);
  });

  test("without any source nobody objects; with a source that allows nothing, all is gone", () => {
    expect(explainRanges([])).toEqual({ ranges: [wholeIovaSpace], removed: [] });
    const nothing = explainRanges([a, { source: "stuck", ranges: [] }]);
    expect(nothing.ranges).toEqual([]);
    expect(nothing.removed.every(({ by }) => by.includes("stuck"))).toBe(true);
  });

  test("is the intersection, and blames exactly those who lack an address", () => {
    const named = fc
      .array(someRanges, { maxLength: 4 })
      .map((all) => all.map((ranges, i) => ({ source: `${i}`, ranges })));
    fc.assert(
      fc.property(named, (sources) => {
        const { ranges, removed } = explainRanges(sources);
        const common = sources.reduce((all, each) => intersect(all, normalize(each.ranges)), [wholeIovaSpace]);
        expect(ranges).toEqual(common);
        for (const place of places) {
          const lacking = sources.filter((each) => !has(each.ranges, place)).map(({ source }) => source);
          const hole = removed.filter((each) => has([each], place));
          expect(hole.map(({ by }) => by)).toEqual(lacking.length === 0 ? [] : [lacking]);
        }
      }),
    );
  });

  test("an error for a range outside says what is in the way and what would be valid", () => {
    const { ranges } = explainRanges([a]);
    const doorbell = outsideRanges("the buffer", range(0x7fff000, 0x8000fff), ranges);
    expect(doorbell).toMatchObject({
      code: "ERR_IOSPAN_MAP_RANGE",
      message: "the buffer is outside the valid IOVA ranges: nothing can be mapped at 0x8000000-0x80fffff",
      hint: "the valid ranges are 0x0-0x7ffffff, 0x8100000-0xffffffffffff",
    });
    const beyond = { start: iova(LAST), end: (LAST + 1n) as IovaRange["end"] };
    expect(outsideRanges("it", beyond, [wholeIovaSpace]).message).toContain("above 0xffffffffffffffff");
    expect(outsideRanges("it", range(0, 0), []).hint).toBe("the valid ranges are none");
  });

  test("formatRange writes both ends", () => {
    expect(formatRange(wholeIovaSpace)).toBe("0x0-0xffffffffffffffff");
  });
});

describe("page sizes", () => {
  const [KiB, MiB, GiB] = [2 ** 10, 2 ** 20, 2 ** 30];

  test("lists the sizes of a bitmap and the smallest", () => {
    expect(pageSizes(0x4020_1000n)).toEqual([4 * KiB, 2 * MiB, GiB]);
    expect(smallestPageSize(0x4020_1000n)).toBe(4 * KiB);
    expect(pageSizes(1n << 63n)).toEqual([2 ** 63]);
    expect(smallestPageSize(0n)).toBeUndefined();
  });

  test("intersects them and names who removed which", () => {
    const sources = [
      { source: "smmu A", bitmap: 0x4020_1000n },
      { source: "smmu B", bitmap: 0x2001_0000n },
      { source: "smmu C", bitmap: 0x4021_1000n },
    ];
    expect(intersectPageSizes(sources.filter(({ source }) => source !== "smmu B"))).toEqual({
      bitmap: 0x4020_1000n,
      removed: [{ size: 64 * KiB, by: ["smmu A"] }],
    });
    expect(intersectPageSizes(sources)).toEqual({
      bitmap: 0n,
      removed: [
        { size: 4 * KiB, by: ["smmu B"] },
        { size: 64 * KiB, by: ["smmu A"] },
        { size: 2 * MiB, by: ["smmu B"] },
        { size: 512 * MiB, by: ["smmu A", "smmu C"] },
        { size: GiB, by: ["smmu B"] },
      ],
    });
    expect(intersectPageSizes([])).toEqual({ bitmap: LAST, removed: [] });
  });
});

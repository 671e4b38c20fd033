import { describe, expect, test } from "vitest";
import { type IovaRange, iova } from "../../src/iova.js";
import { IovaAllocator } from "../../src/space/iova-allocator.js";

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;
const LAST = 2n ** 64n - 1n;

function range(start: number | bigint, end: number | bigint): IovaRange {
  return { start: iova(start), end: iova(end) };
}

/** 48 bits with the hole for the MSI doorbell, as Linux reports on Arm. */
const arm = [range(0, 0x7ffffff), range(0x8100000, 2n ** 48n - 1n)];

function armAllocator(pageSize = 4 * KiB): IovaAllocator {
  return new IovaAllocator(arm, pageSize);
}

function refusal(code: string, ...texts: string[]): unknown {
  return expect.toSatisfy((error: { code: string; message: string; hint: string | undefined }) => {
    const said = `${error.message}; ${error.hint}`;
    expect(error.code).toBe(code);
    for (const text of texts) expect(said).toContain(text);
    return true;
  });
}

describe("allocate", () => {
  test("takes the lowest place, but never address 0", () => {
    const allocator = armAllocator();
    expect(allocator.allocate(4 * KiB)).toBe(0x1000n);
    expect(allocator.allocate(8 * KiB)).toBe(0x2000n);
    allocator.release(0x1000n);
    expect(allocator.allocate(8 * KiB)).toBe(0x4000n);
    expect(allocator.allocate(4096n)).toBe(0x1000n);
  });

  test("page 0 alone is no place, and does not count as one", () => {
    const allocator = new IovaAllocator([range(0, 0xfff)], 4 * KiB);
    expect(allocator.largestFree).toBe(0);
    expect(() => allocator.allocate(4 * KiB)).toThrow(
      refusal("ERR_IOSPAN_NO_IOVA", "the largest free hole has 0x0 bytes"),
    );
    expect(allocator.reserve(0, 4 * KiB)).toBe(0n);
  });

  test("does not reach into the MSI hole", () => {
    const allocator = armAllocator();
    allocator.reserve(0, 0x7fff000);
    expect(allocator.allocate(8 * KiB)).toBe(0x8100000n);
    expect(allocator.allocate(4 * KiB)).toBe(0x7fff000n);
  });

  test("fills the space up to its last page, at 2^48 and at 2^64", () => {
    for (const end of [2n ** 48n, 2n ** 64n]) {
      const allocator = new IovaAllocator([range(end - 0x3000n, end - 1n)], 4 * KiB);
      const starts = [1, 2, 3].map(() => allocator.allocate(4 * KiB));
      expect(starts).toEqual([end - 0x3000n, end - 0x2000n, end - 0x1000n]);
      expect([...allocator.liveRanges()].at(-1)).toEqual(range(end - 0x1000n, end - 1n));
      expect(() => allocator.allocate(4 * KiB)).toThrow(refusal("ERR_IOSPAN_NO_IOVA"));
      expect(allocator.find(end - 1n)).toEqual(range(end - 0x1000n, end - 1n));
    }
  });

  test("the whole space is one hole of exactly 2^64 - 4096 bytes to choose from", () => {
    const allocator = new IovaAllocator([range(0, LAST)], 4 * KiB);
    expect(BigInt(allocator.largestFree)).toBe(2n ** 64n - 4096n);
    expect(allocator.allocate(2n ** 64n - 4096n)).toBe(0x1000n);
    expect([...allocator.freeRanges()]).toEqual([range(0, 0xfff)]);
    expect([...allocator.liveRanges()]).toEqual([range(0x1000, LAST)]);
  });

  test("aligns", () => {
    const allocator = armAllocator();
    expect(allocator.allocate(4 * KiB, { alignment: 2 * MiB })).toBe(BigInt(2 * MiB));
    expect(allocator.allocate(4 * KiB, { alignment: 2n ** 47n })).toBe(2n ** 47n);
    expect(allocator.allocate(4 * KiB, { alignment: 1 })).toBe(0x1000n);
  });

  test("gives a buffer an IOVA congruent to its virtual address, so that it can be mapped in blocks", () => {
    const allocator = armAllocator();
    const address = 0x7f12_3456_7000n;
    for (const modulus of [2 * MiB, GiB]) {
      const start = allocator.allocate(4 * MiB, { congruentTo: { address, modulus } });
      expect(start % BigInt(modulus)).toBe(address % BigInt(modulus));
    }
  });

  test("uses a hole that fits exactly even if only its place makes it fit", () => {
    const allocator = new IovaAllocator([range(2 * MiB, 4 * MiB - 1)], 4 * KiB);
    expect(allocator.allocate(2 * MiB, { alignment: 2 * MiB })).toBe(BigInt(2 * MiB));
  });

  test("finds the one congruent hole behind many that are not", () => {
    const allocator = new IovaAllocator([range(0, MiB - 1)], 4 * KiB);
    const pages = Array.from({ length: 256 }, (_, page) => page * 4 * KiB);
    for (const page of pages) allocator.reserve(page, 4 * KiB);
    for (const page of pages.filter((start) => start % (8 * KiB) !== 0)) allocator.release(page);
    const congruentTo = { address: 0xff000, modulus: MiB };
    expect(allocator.allocate(4 * KiB, { congruentTo })).toBe(0xff000n);
    expect(() => allocator.allocate(4 * KiB, { congruentTo })).toThrow(
      refusal("ERR_IOSPAN_NO_IOVA", "congruent to 0xff000 modulo 0x100000", "it would fit without"),
    );
  });

  test("an alignment and a congruence hold together, or contradict each other", () => {
    const allocator = armAllocator();
    const congruentTo = { address: 0x6000, modulus: 16 * KiB };
    expect(allocator.allocate(4 * KiB, { alignment: 8 * KiB, congruentTo })).toBe(0x2000n);
    expect(() => allocator.allocate(4 * KiB, { alignment: 64 * KiB, congruentTo })).toThrow(
      refusal("ERR_IOSPAN_INVALID_ARGUMENT", "multiple of 0x10000 and congruent to 0x6000 modulo 0x4000"),
    );
  });

  test("says how large the largest hole is when none is large enough", () => {
    const allocator = new IovaAllocator([range(0x1000, 0x4fff), range(0x8000, 0x9fff)], 4 * KiB);
    expect(() => allocator.allocate(20 * KiB)).toThrow(
      refusal("ERR_IOSPAN_NO_IOVA", "no free hole for 0x5000 bytes", "the largest free hole has 0x4000 bytes"),
    );
  });

  test.each([
    [0, "ERR_IOSPAN_INVALID_ARGUMENT"],
    [-4096, "ERR_IOSPAN_INVALID_ARGUMENT"],
    [Number.NaN, "ERR_IOSPAN_INVALID_ARGUMENT"],
    [100, "ERR_IOSPAN_MAP_ALIGNMENT"],
    [4096.5, "ERR_IOSPAN_MAP_ALIGNMENT"],
    [2n ** 60n + 1n, "ERR_IOSPAN_MAP_ALIGNMENT"],
    [2n ** 70n, "ERR_IOSPAN_NO_IOVA"],
    [Number.POSITIVE_INFINITY, "ERR_IOSPAN_MAP_ALIGNMENT"],
  ])("refuses a size of %s", (size, code) => {
    const allocator = armAllocator();
    expect(() => allocator.allocate(size)).toThrow(refusal(code));
    expect([allocator.liveCount, ...allocator.freeRanges()]).toEqual([0, ...arm]);
  });

  test.each([0, 3, -8, 4097, 2n ** 60n + 1n, 0.3])("refuses an alignment or a modulus of %s", (alignment) => {
    const allocator = armAllocator();
    const wrong = refusal("ERR_IOSPAN_INVALID_ARGUMENT", "power of two");
    expect(() => allocator.allocate(4 * KiB, { alignment })).toThrow(wrong);
    expect(() => allocator.allocate(4 * KiB, { congruentTo: { address: 0, modulus: alignment } })).toThrow(wrong);
  });

  test("refuses to be congruent to an address inside a page", () => {
    const congruentTo = { address: 0x1234, modulus: 2 * MiB };
    expect(() => armAllocator().allocate(4 * KiB, { congruentTo })).toThrow(
      refusal("ERR_IOSPAN_MAP_ALIGNMENT", "0x1234"),
    );
  });
});

describe("reserve", () => {
  test("takes exactly what it is told, 0 and the last page too", () => {
    const allocator = new IovaAllocator([range(0, LAST)], 4 * KiB);
    expect(allocator.reserve(0, 4 * KiB)).toBe(0n);
    expect(allocator.reserve(LAST - 0xfffn, 4 * KiB)).toBe(LAST - 0xfffn);
    expect([...allocator.freeRanges()]).toEqual([range(0x1000, LAST - 0x1000n)]);
  });

  test("names the range that is in the way", () => {
    const allocator = armAllocator();
    allocator.reserve(0x4000, 8 * KiB);
    for (const [start, size] of [
      [0x4000, 0x1000],
      [0x5000, 0x1000],
      [0x1000, 0x4000],
      [0x5000, 0x10000],
      [0x1000, 0x10000],
    ] as const) {
      expect(() => allocator.reserve(start, size)).toThrow(refusal("ERR_IOSPAN_MAP_OVERLAP", "overlaps 0x4000-0x5fff"));
    }
    allocator.reserve(0x6000, 4 * KiB);
    allocator.reserve(0x3000, 4 * KiB);
    expect(allocator.liveCount).toBe(3);
  });

  test.each([
    [0x8000000n, 4096n, "0x8000000-0x80fffff"],
    [0x7fff000n, 8192n, "0x8000000-0x80fffff"],
    [0x80ff000n, 8192n, "0x8000000-0x80fffff"],
    [2n ** 48n, 4096n, "0x1000000000000-0xffffffffffffffff"],
    [2n ** 48n - 4096n, 8192n, "0x1000000000000-0xffffffffffffffff"],
    [2n ** 64n - 4096n, 8192n, "0x1000000000000-0xffffffffffffffff"],
  ])("refuses 0x%s, which is not all valid, and names the hole", (start, size, hole) => {
    const allocator = armAllocator();
    expect(() => allocator.reserve(start, size)).toThrow(
      refusal("ERR_IOSPAN_MAP_RANGE", hole, "the valid ranges are 0x0-0x7ffffff, 0x8100000-0xffffffffffff"),
    );
    expect([...allocator.freeRanges()]).toEqual(arm);
  });

  test("refuses what runs past 2^64", () => {
    const allocator = new IovaAllocator([range(0, LAST)], 4 * KiB);
    expect(() => allocator.reserve(LAST - 0xfffn, 8 * KiB)).toThrow(
      refusal("ERR_IOSPAN_MAP_RANGE", "above 0xffffffffffffffff"),
    );
    expect(() => allocator.reserve(2n ** 64n, 4 * KiB)).toThrow(refusal("ERR_IOSPAN_INVALID_ARGUMENT"));
  });

  test("refuses anything but whole pages, of whatever magnitude", () => {
    const allocator = new IovaAllocator([range(0, LAST)], 4 * KiB);
    for (const start of [0x800, 2n ** 60n + 1n, LAST]) {
      expect(() => allocator.reserve(start, 4 * KiB)).toThrow(
        refusal("ERR_IOSPAN_MAP_ALIGNMENT", "whole pages of 0x1000"),
      );
    }
    expect(() => allocator.reserve(0x1000, 0x800)).toThrow(refusal("ERR_IOSPAN_MAP_ALIGNMENT", "size 0x800"));
  });

  test("pages that are cut by a limit are not valid", () => {
    const allocator = new IovaAllocator([range(0x1800, 0x4000)], 4 * KiB);
    expect([...allocator.freeRanges()]).toEqual([range(0x2000, 0x3fff)]);
    expect(() => allocator.reserve(0x1000, 4 * KiB)).toThrow(refusal("ERR_IOSPAN_MAP_RANGE", "0x0-0x17ff"));
    expect(() => allocator.reserve(0x4000, 4 * KiB)).toThrow(refusal("ERR_IOSPAN_MAP_RANGE", "0x4001-0xffff"));
  });
});

describe("release", () => {
  test("joins with the hole before, after, both or none", () => {
    for (const order of [
      [1, 2, 3],
      [3, 2, 1],
      [1, 3, 2],
      [2, 1, 3],
    ]) {
      const allocator = armAllocator();
      for (const page of [1, 2, 3]) allocator.reserve(page * 4 * KiB, 4 * KiB);
      for (const page of order) allocator.release(page * 4 * KiB);
      expect([...allocator.freeRanges()]).toEqual(arm);
    }
  });

  test("refuses what is not the start of a live range", () => {
    const allocator = armAllocator();
    allocator.reserve(0x4000, 8 * KiB);
    expect(() => allocator.release(0x5000)).toThrow(refusal("ERR_IOSPAN_RELEASED", "inside 0x4000-0x5fff"));
    expect(() => allocator.release(0x4001)).toThrow(refusal("ERR_IOSPAN_RELEASED", "inside 0x4000-0x5fff"));
    for (const start of [0, 0x3000, 0x6000, 0x8000000, 2n ** 63n, 2n ** 63n + 0x4000n]) {
      expect(() => allocator.release(start)).toThrow(refusal("ERR_IOSPAN_RELEASED", "released already"));
    }
    allocator.release(0x4000);
    expect(() => allocator.release(0x4000)).toThrow(refusal("ERR_IOSPAN_RELEASED"));
    expect(allocator.liveCount).toBe(0);
  });
});

describe("setRanges and setPageSize", () => {
  test("ranges shrink around what is live and grow again", () => {
    const allocator = armAllocator();
    allocator.reserve(0x9000000, 2 * MiB);
    allocator.setRanges([range(0x9000000, 0x93fffff)]);
    expect([...allocator.freeRanges()]).toEqual([range(0x9200000, 0x93fffff)]);
    allocator.setRanges(arm);
    allocator.release(0x9000000);
    expect([...allocator.freeRanges()]).toEqual(arm);
  });

  test("a live range outside is named, and nothing changes", () => {
    const allocator = armAllocator();
    for (const start of [0x4000, 0x8200000, 0x9000000]) allocator.reserve(start, 8 * KiB);
    const [live, free] = [[...allocator.liveRanges()], [...allocator.freeRanges()]];
    expect(() => allocator.setRanges([range(0, 0x8200fff), range(0x9000000, LAST)])).toThrow(
      refusal("ERR_IOSPAN_MAP_RANGE", "the live range 0x8200000-0x8201fff", "0x8201000-0x8ffffff"),
    );
    expect([[...allocator.liveRanges()], [...allocator.freeRanges()], allocator.ranges]).toEqual([live, free, arm]);
  });

  test("larger pages leave out cut ones, and smaller ones bring them back", () => {
    const ranges = [range(0x1000, 0x2ffff)];
    const allocator = new IovaAllocator(ranges, 4 * KiB);
    allocator.setPageSize(64 * KiB);
    expect([...allocator.freeRanges()]).toEqual([range(0x10000, 0x2ffff)]);
    expect(allocator.allocate(64 * KiB)).toBe(0x10000n);
    allocator.setPageSize(4 * KiB);
    expect([...allocator.freeRanges()]).toEqual([range(0x1000, 0xffff), range(0x20000, 0x2ffff)]);
    expect(allocator.find(0x1ffff)).toEqual(range(0x10000, 0x1ffff));
  });

  test("a live range that is not made of the larger pages is named, and nothing changes", () => {
    const allocator = armAllocator();
    allocator.reserve(0x10000, 64 * KiB);
    allocator.reserve(0x20000, 68 * KiB);
    expect(() => allocator.setPageSize(64 * KiB)).toThrow(
      refusal("ERR_IOSPAN_MAP_ALIGNMENT", "the live range 0x20000-0x30fff", "pages of 0x10000"),
    );
    expect([allocator.pageSize, allocator.liveCount]).toEqual([4 * KiB, 2]);
  });

  test("refuses page sizes that are no power of two, or too small to count the pages", () => {
    const wrong = refusal("ERR_IOSPAN_INVALID_ARGUMENT");
    for (const size of [0, 3000, -1, Number.NaN]) expect(() => new IovaAllocator(arm, size)).toThrow(wrong);
    expect(() => new IovaAllocator([range(0, LAST)], 1024)).toThrow(wrong);
    expect(() => new IovaAllocator([range(0, LAST)], 4 * KiB).setPageSize(1)).toThrow(wrong);
  });
});

describe("looking", () => {
  test("find: the live range around an address, its ends included", () => {
    const allocator = armAllocator();
    allocator.reserve(0x4000, 8 * KiB);
    for (const address of [0x4000, 0x4001, 0x5fffn]) expect(allocator.find(address)).toEqual(range(0x4000, 0x5fff));
    for (const address of [0, 0x3fff, 0x6000n, 0x8000000, LAST]) expect(allocator.find(address)).toBeUndefined();
  });

  test("liveRanges goes on in ascending order while ranges come and go", () => {
    const allocator = armAllocator();
    for (const page of [1, 2, 3, 4]) allocator.reserve(page * 4 * KiB, 4 * KiB);
    const seen: bigint[] = [];
    for (const { start } of allocator.liveRanges()) {
      seen.push(start);
      allocator.release(start);
      if (start === 0x2000n) allocator.release(0x3000);
      if (start === 0x4000n) allocator.allocate(4 * KiB);
    }
    expect(seen).toEqual([0x1000n, 0x2000n, 0x4000n]);
    expect([...allocator.liveRanges()]).toEqual([range(0x1000, 0x1fff)]);
  });

  test("no ranges, nothing to give", () => {
    const allocator = new IovaAllocator([], 4 * KiB);
    expect([allocator.largestFree, allocator.liveCount, ...allocator.freeRanges()]).toEqual([0, 0]);
    expect(() => allocator.allocate(4 * KiB)).toThrow(refusal("ERR_IOSPAN_NO_IOVA"));
    expect(() => allocator.reserve(0, 4 * KiB)).toThrow(refusal("ERR_IOSPAN_MAP_RANGE", "the valid ranges are none"));
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { iova } from "../../src/iova.js";
import { IovaAllocator } from "../../src/space/iova-allocator.js";
import type { SpaceLimits } from "../../src/space/limits.js";
import { partOf, takeIova, wantedAccess } from "../../src/space/map-request.js";
import { errorOf } from "../support/errors.js";
import { fakeMemory } from "../support/records.js";

const KIB = 1024;
const MIB = 1024 * KIB;

describe("partOf", () => {
  const memory = fakeMemory(16 * KIB, 0x10000n);

  it.each([
    [{}, { address: 0x10000n, size: 16 * KIB }],
    [{ offset: 4 * KIB }, { address: 0x11000n, size: 12 * KIB }],
    [{ size: 8 * KIB }, { address: 0x10000n, size: 8 * KIB }],
    [
      { offset: 12 * KIB, size: 4 * KIB },
      { address: 0x13000n, size: 4 * KIB },
    ],
    [
      { offset: 0, size: undefined },
      { address: 0x10000n, size: 16 * KIB },
    ],
  ])("%o of 16 KiB is %o", (options, part) => {
    expect(partOf(memory, options, 4 * KIB)).toEqual(part);
  });

  it.each([
    { offset: -4096 },
    { offset: 0.5 },
    { size: 0 },
    { size: -4096 },
    { size: Number.NaN },
    { offset: 16 * KIB }, // nothing is left
    { offset: 20 * KIB },
    { offset: 8 * KIB, size: 12 * KIB },
    { size: 20 * KIB },
  ])("refuses %o", (options) => {
    expect(errorOf(() => partOf(memory, options, 4 * KIB)).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
  });

  it.each([
    ["begins between pages", { offset: 2 * KIB, size: 4 * KIB }, 4 * KIB],
    ["ends between pages", { size: 6 * KIB }, 4 * KIB],
    ["is not made of the IOMMUs' larger pages", {}, 64 * KIB],
  ])("refuses a part that %s, and says how large pages are", (_, options, granule) => {
    const error = errorOf(() => partOf(memory, options, granule));
    expect(error.code).toBe("ERR_IOSPAN_MAP_ALIGNMENT");
    expect(error.message).toContain(`${granule} bytes`);
  });
});

describe("the part that is refused", () => {
  const memory = fakeMemory(16 * KIB, 0x10000n);

  it.each([
    [{ offset: 16 * KIB }, /^offset 16384 is at or beyond the end/, /16384 bytes/],
    [{ offset: 1 << 20 }, /^offset 1048576 is at or beyond the end/, /16384 bytes/],
    [{ offset: 100 }, /^offset 100 is not a multiple of the granule, 4096 bytes/, /space\.granule/],
    [{ offset: 4 * KIB, size: 100 }, /^size 100 is not a multiple of the granule/, /space\.granule/],
    [{ offset: 1 << 20, size: 4 * KIB }, /^4096 bytes from 1048576 reach beyond/, /16384 bytes/],
  ])("is told by what was asked for: %o", (options, message, hint) => {
    const error = errorOf(() => partOf(memory, options, 4 * KIB));
    expect(error.message).toMatch(message);
    expect(error.hint).toMatch(hint);
  });

  it("is told by its address where the memory itself does not fit", () => {
    const error = errorOf(() => partOf(fakeMemory(64 * KIB, 0x11000n), { offset: 4 * KIB }, 64 * KIB));
    expect(error.message).toMatch(/at 0x12000 do not consist of whole pages/);
  });
});

describe("wantedAccess", () => {
  it.each(["0000:01:00.0", 5, null])("takes no %o for a list of interfaces", (interfaces) => {
    const error = errorOf(() => wantedAccess({ interfaces } as object));
    expect(error.code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    expect(error.message).toContain(`not ${JSON.stringify(interfaces)}`);
    expect(error.hint).toContain('["0000:01:00.0"]');
  });

  it("is read-write for everybody unless told otherwise", () => {
    expect(wantedAccess({})).toBe("read-write");
    expect(wantedAccess({ access: "read" })).toBe("read");
  });

  it("gives the interfaces of a list the one access", () => {
    expect(wantedAccess({ access: "write", interfaces: ["a", "b"] })).toEqual(
      new Map([
        ["a", "write"],
        ["b", "write"],
      ]),
    );
  });

  it("gives each interface its own, by the kernel's name", () => {
    const interfaces = { "02:00.0": "read", "0000:0A:00.0": "write" } as const;
    expect(wantedAccess({ interfaces })).toEqual(
      new Map([
        ["0000:02:00.0", "read"],
        ["0000:0a:00.0", "write"],
      ]),
    );
  });

  it.each([{ interfaces: [] }, { interfaces: {} }])("refuses a mapping for nobody: %o", (options) => {
    expect(errorOf(() => wantedAccess(options)).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
  });

  it.each([
    { access: "rw" },
    { access: "toString" },
    { interfaces: { a: "execute" } },
    { access: "rw", interfaces: ["a"] },
    { interfaces: [""] },
  ])("refuses %o", (options) => {
    // The types rule it out; programs in JavaScript do not have them.
    expect(errorOf(() => wantedAccess(options as object)).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
  });
});

describe("takeIova", () => {
  const ALL = [{ start: iova(0), end: iova(2n ** 40n - 1n) }];
  function fresh(bitmap: bigint, granule = 4 * KIB, ranges = ALL) {
    const limits: SpaceLimits = {
      iovaRanges: { ranges, removed: [] },
      pageSizes: { bitmap, removed: [] },
      granule,
    };
    return { limits, allocator: new IovaAllocator(ranges, granule) };
  }
  const USUAL = BigInt((4 * KIB) | (2 * MIB)) | (1n << 30n);

  it("takes the IOVA that is asked for, and that one only once", () => {
    const { allocator, limits } = fresh(USUAL);
    const part = { address: 0x10000n, size: 8 * KIB };
    expect(takeIova(allocator, limits, part, 0x5000)).toBe(0x5000n);
    expect(errorOf(() => takeIova(allocator, limits, part, 0x6000n)).code).toBe("ERR_IOSPAN_MAP_OVERLAP");
    expect(errorOf(() => takeIova(allocator, limits, part, 0x7800)).code).toBe("ERR_IOSPAN_MAP_ALIGNMENT");
    expect(errorOf(() => takeIova(allocator, limits, part, 2n ** 40n)).code).toBe("ERR_IOSPAN_MAP_RANGE");
    expect(allocator.liveCount).toBe(1);
  });

  it("lies at the same place within the largest block that fits as the memory does", () => {
    const sizes = fc.integer({ min: 1, max: 1 << 19 }).map((pages) => pages * 4 * KIB);
    const addresses = fc.integer({ min: 1, max: 2 ** 30 }).map((page) => BigInt(page) * 4096n);
    fc.assert(
      fc.property(fc.array(fc.record({ size: sizes, address: addresses }), { minLength: 1, maxLength: 5 }), (parts) => {
        const { allocator, limits } = fresh(USUAL);
        for (const part of parts) {
          const taken = takeIova(allocator, limits, part, undefined);
          const block = [1n << 30n, BigInt(2 * MIB), 4096n].find((each) => each <= BigInt(part.size)) ?? 0n;
          expect(taken % block).toBe(part.address % block);
          expect(taken).not.toBe(0n);
        }
      }),
    );
  });

  it("does so for memory of exactly one block too", () => {
    const { allocator, limits } = fresh(USUAL);
    const part = { address: BigInt(6 * MIB), size: 2 * MIB };
    expect(takeIova(allocator, limits, part, undefined) % BigInt(2 * MIB)).toBe(0n);
  });

  it("looks at no block size below the granule", () => {
    const { allocator, limits } = fresh(BigInt((4 * KIB) | (16 * KIB)), 64 * KIB);
    expect(takeIova(allocator, limits, { address: 0x10000n, size: 64 * KIB }, undefined) % 0x10000n).toBe(0n);
  });

  it("is content with any place where the IOMMUs have no page size in common", () => {
    const { allocator, limits } = fresh(0n, 64 * KIB);
    expect(takeIova(allocator, limits, { address: 0x30000n, size: 2 * MIB }, undefined) % 0x10000n).toBe(0n);
  });

  it("goes anywhere when no congruent place is left", () => {
    const narrow = [{ start: iova(2 * MIB), end: iova(4 * MIB - 1) }];
    const { allocator, limits } = fresh(USUAL, 4 * KIB, narrow);
    const part = { address: BigInt(64 * KIB), size: 2 * MIB }; // congruent ones would stick out by 64 KiB
    expect(takeIova(allocator, limits, part, undefined)).toBe(BigInt(2 * MIB));
  });

  it("says so when no place is left at all", () => {
    const narrow = [{ start: iova(2 * MIB), end: iova(4 * MIB - 1) }];
    const { allocator, limits } = fresh(USUAL, 4 * KIB, narrow);
    const error = errorOf(() => takeIova(allocator, limits, { address: 0n, size: 4 * MIB }, undefined));
    expect(error.code).toBe("ERR_IOSPAN_NO_IOVA");
  });
});

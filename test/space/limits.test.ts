import { describe, expect, it } from "vitest";
import { iova } from "../../src/iova.js";
import { checkWithinLimits, intersectLimits, type LimitSource } from "../../src/space/limits.js";
import { errorOf } from "../support/errors.js";
import { record } from "../support/records.js";

const KIB = 1024;

function source(iommus: string, pageSizes: number[], ranges: [bigint, bigint][] = [[0n, 2n ** 48n - 1n]]): LimitSource {
  const bitmap = pageSizes.reduce((sum, size) => sum | BigInt(size), 0n);
  const allowed = ranges.map(([start, end]) => ({ start: iova(start), end: iova(end) }));
  return { iommus, info: { pageSizes: bitmap, ranges: allowed, available: undefined } };
}

describe("intersectLimits", () => {
  it("allows everything without IOMMUs, in the machine's pages", () => {
    const limits = intersectLimits([], 4 * KIB);
    expect(limits.granule).toBe(4 * KIB);
    expect(limits.iovaRanges).toEqual({ ranges: [{ start: 0n, end: 2n ** 64n - 1n }], removed: [] });
  });

  it.each([
    ["one of 4 KiB", [[4 * KIB, 2048 * KIB]], 4 * KIB, 4 * KIB],
    ["one of 4 KiB on a machine of 64 KiB", [[4 * KIB]], 64 * KIB, 64 * KIB],
    ["4 KiB only and 64 KiB only, which have no page in common", [[4 * KIB], [64 * KIB]], 4 * KIB, 64 * KIB],
    [
      "4 KiB and more, and 16 KiB and more",
      [
        [4 * KIB, 64 * KIB],
        [16 * KIB, 64 * KIB],
      ],
      4 * KIB,
      16 * KIB,
    ],
    ["one that names no size", [[]], 4 * KIB, 4 * KIB],
  ])("has the largest of the smallest pages as granule: %s", (_, sizes, pageSize, granule) => {
    const limits = intersectLimits(
      sizes.map((each, index) => source(`smmu${index}`, each)),
      pageSize,
    );
    expect(limits.granule).toBe(granule);
  });

  it("says which IOMMU lacks a page size", () => {
    const limits = intersectLimits(
      [source("smmu0", [4 * KIB, 2 ** 21]), source("smmu1", [4 * KIB, 64 * KIB])],
      4 * KIB,
    );
    expect(limits.pageSizes.bitmap).toBe(BigInt(4 * KIB));
    expect(limits.pageSizes.removed).toEqual([
      { size: 64 * KIB, by: ["smmu0"] },
      { size: 2 ** 21, by: ["smmu1"] },
    ]);
  });

  it("allows only what all allow, and says who removed the rest", () => {
    const msi = source(
      "smmu0",
      [4 * KIB],
      [
        [0n, 0x7ffffffn],
        [0x8100000n, 0xffffffffn],
      ],
    );
    const small = source("smmu1", [4 * KIB], [[0x1000n, 0x9ffffffn]]);
    const { ranges, removed } = intersectLimits([msi, small], 4 * KIB).iovaRanges;
    expect(ranges).toEqual([
      { start: 0x1000n, end: 0x7ffffffn },
      { start: 0x8100000n, end: 0x9ffffffn },
    ]);
    expect(removed.map(({ start, by }) => [start, by])).toEqual([
      [0n, ["smmu1"]],
      [0x8000000n, ["smmu0"]],
      [0xa000000n, ["smmu1"]],
      [0x100000000n, ["smmu0", "smmu1"]],
    ]);
  });
});

describe("checkWithinLimits", () => {
  const limits = intersectLimits([source("smmu0", [64 * KIB], [[0x100000n, 0x2fffffn]])], 4 * KIB);
  const fitting = record(0x100000, 64 * KIB);

  it("lets mappings stay that keep to the limits, up to the last byte", () => {
    checkWithinLimits([fitting, record(0x2f0000, 64 * KIB), record(0x100000, 0x200000)], limits, "dev");
  });

  it.each([
    ["begins before the ranges", record(0xf0000, 128 * KIB), "ERR_IOSPAN_MAP_RANGE", "0xf0000-0x10ffff"],
    ["ends behind the ranges", record(0x2f0000, 128 * KIB), "ERR_IOSPAN_MAP_RANGE", "0x2f0000-0x30ffff"],
    ["is at an IOVA between pages", record(0x101000, 64 * KIB), "ERR_IOSPAN_MAP_ALIGNMENT", "0x101000"],
    ["is of a part of a page", record(0x110000, 4 * KIB), "ERR_IOSPAN_MAP_ALIGNMENT", "0x110000"],
    [
      "is of memory between pages",
      record(0x110000, 64 * KIB, { address: 0x1000n }),
      "ERR_IOSPAN_MAP_ALIGNMENT",
      "0x110000",
    ],
  ])("names the mapping that %s, and the device", (_, mapping, code, range) => {
    const error = errorOf(() => checkWithinLimits([fitting, mapping], limits, "0000:02:00.0"));
    expect(error).toMatchObject({ code, device: "0000:02:00.0" });
    expect(error.message).toContain(range);
  });
});

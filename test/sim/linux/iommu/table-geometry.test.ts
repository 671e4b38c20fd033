import { describe, expect, it } from "vitest";
import { pageSizeBitmap, sizesOf, tableGeometry } from "../../../../src/sim/linux/iommu/table-geometry.js";

const ALL = [4096, 16384, 65536].flatMap((granule) => sizesOf(granule as 4096)).sort((a, b) => a - b);
const WITHOUT_4T = ALL.filter((size) => size < 2 ** 42);
const base = { stage: 1, pageSizes: WITHOUT_4T, cpuPageSize: 4096, inputBits: 48, outputBits: 48 } as const;

describe("the granule of a domain's tables", () => {
  it.each([
    ["is the processor's page", WITHOUT_4T, 16384, 16384],
    ["is the next smaller one where the SMMU has not the processor's", [4096, 2 ** 21, 65536, 2 ** 29], 16384, 4096],
    ["is the largest of those that are smaller", [4096, 16384], 65536, 16384],
    ["is the smallest where all are larger", [16384, 2 ** 25, 65536, 2 ** 29], 4096, 16384],
  ])("%s", (_name, pageSizes, cpuPageSize, granule) => {
    expect(tableGeometry({ ...base, pageSizes, cpuPageSize }).granule).toBe(granule);
  });

  it.each([
    [4096, 48, 0x40201000n],
    [16384, 48, 0x2004000n],
    [65536, 48, 0x20010000n],
    [65536, 52, 0x40020010000n],
  ])("%i bytes, addresses of %i bits: page sizes 0x%x", (cpuPageSize, outputBits, bitmap) => {
    const pageSizes = outputBits === 52 ? ALL : WITHOUT_4T;
    expect(pageSizeBitmap(tableGeometry({ ...base, pageSizes, cpuPageSize, outputBits }))).toBe(bitmap);
  });
});

describe("the first table", () => {
  it.each([
    // stage, granule, input bits, level, entries
    [1, 4096, 48, 0, 512],
    [1, 4096, 40, 0, 2],
    [1, 4096, 39, 1, 512],
    [1, 16384, 48, 0, 2],
    [1, 65536, 48, 1, 64],
    [2, 4096, 48, 0, 512],
    [2, 4096, 44, 0, 32],
    [2, 4096, 42, 1, 8 * 512],
    [2, 4096, 40, 1, 2 * 512],
    [2, 4096, 36, 1, 64],
    [2, 4096, 32, 1, 4],
    [2, 16384, 48, 1, 2 * 2048],
    [2, 16384, 42, 1, 64],
    [2, 16384, 40, 2, 16 * 2048],
    [2, 65536, 48, 1, 64],
    [2, 65536, 42, 2, 8192],
    [2, 65536, 32, 2, 8],
  ])("of stage %i with %i-byte pages and %i bits: level %i, %i entries", (stage, cpuPageSize, bits, level, entries) => {
    const request = { ...base, stage: stage as 1 | 2, cpuPageSize, inputBits: bits, outputBits: bits };
    expect(tableGeometry(request)).toMatchObject({ firstLevel: level, firstEntries: entries });
  });

  it("has addresses of more than 48 bits with 64 KiB pages only", () => {
    const request = { ...base, pageSizes: ALL, inputBits: 52, outputBits: 52 };
    expect(tableGeometry({ ...request, cpuPageSize: 65536 })).toMatchObject({ inputBits: 52, outputBits: 52 });
    expect(tableGeometry(request)).toMatchObject({ inputBits: 48, outputBits: 48 });
  });

  it("has no blocks above its level", () => {
    expect(tableGeometry({ ...base, inputBits: 30 }).pageSizes).toEqual([4096, 2 ** 21]);
  });
});

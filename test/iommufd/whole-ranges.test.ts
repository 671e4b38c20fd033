import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { WholeRanges } from "../../src/iommufd/whole-ranges.js";

describe("ranges that were mapped whole", () => {
  it("are known until any part of them is forgotten with where they begin", () => {
    const ranges = new WholeRanges();
    ranges.add(0x1000n, 0x2000);
    ranges.add(0x3000n, 0x1000);
    expect([ranges.has(0x1000n, 0x2000), ranges.has(0x1000n, 0x1000), ranges.has(0x2000n, 0x1000)]).toEqual([
      true,
      false,
      false,
    ]);
    ranges.forget(0x1000n, 0x2000);
    expect([ranges.has(0x1000n, 0x2000), ranges.has(0x3000n, 0x1000)]).toEqual([false, true]);
    ranges.forget(0n, 0x10000);
    expect(ranges.has(0x3000n, 0x1000)).toBe(false);
  });

  it("are those that begin outside of what is forgotten", () => {
    const slots = fc.uniqueArray(fc.nat(40), { maxLength: 20 });
    fc.assert(
      fc.property(slots, fc.nat(40), fc.integer({ min: 1, max: 40 }), (all, from, count) => {
        const ranges = new WholeRanges();
        for (const slot of all) ranges.add(BigInt(slot), 1);
        ranges.forget(BigInt(from), count);
        expect(all.filter((slot) => ranges.has(BigInt(slot), 1))).toEqual(
          all.filter((slot) => slot < from || slot >= from + count),
        );
      }),
    );
  });
});

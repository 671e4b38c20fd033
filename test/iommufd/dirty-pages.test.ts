import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DirtyPages } from "../../src/iommufd/dirty-pages.js";
import { iova } from "../../src/iova.js";
import { errorOf } from "../support/errors.js";

describe("written pages", () => {
  it("are the same as bits, one by one and as ranges", () => {
    const bits = fc.array(fc.boolean(), { minLength: 1, maxLength: 70 });
    const sizes = fc.constantFrom(1, 512, 4096, 65536);
    fc.assert(
      fc.property(bits, sizes, fc.bigInt({ min: 0n, max: 2n ** 40n }), (dirty, pageSize, at) => {
        const bitmap = new Uint8Array(Math.ceil(dirty.length / 8) + 1).fill(0xff);
        for (const [page, isDirty] of dirty.entries()) if (!isDirty) bitmap[page >>> 3]! &= ~(1 << (page & 7));
        const start = iova(at * BigInt(pageSize));
        const pages = new DirtyPages({ iova: start, size: dirty.length * pageSize }, pageSize, bitmap);
        expect(pages.count).toBe(dirty.filter(Boolean).length);
        const address = (page: number) => iova(start + BigInt(page * pageSize));
        expect(dirty.map((_, page) => pages.isDirty(address(page)))).toEqual(dirty);
        const inside = (page: number) =>
          pages.ranges().some((range) => range.start <= address(page) && address(page) <= range.end);
        expect(dirty.map((_, page) => inside(page))).toEqual(dirty);
        for (const [index, range] of pages.ranges().entries()) {
          const before = pages.ranges()[index - 1];
          // With a clean page in between.
          if (before !== undefined) expect(range.start - before.end).toBeGreaterThan(BigInt(pageSize));
        }
      }),
    );
  });

  it("are not known outside of the range", () => {
    const pages = new DirtyPages({ iova: iova(0x1000), size: 0x1000 }, 0x1000, Uint8Array.of(1));
    for (const at of [0xfff, 0x2000]) {
      expect(errorOf(() => pages.isDirty(iova(at))).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    }
    expect(pages.isDirty(iova(0x1fff))).toBe(true);
    // The types rule it out; programs in JavaScript do not have them.
    const isDirty = (at: unknown) => Reflect.apply(pages.isDirty, pages, [at]);
    expect(isDirty(0x1000)).toBe(true);
    expect(errorOf(() => isDirty("0x1000")).message).toContain("of type string");
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MappedRanges } from "../../src/vfio/mapped-ranges.js";

const range = (iova: number, size: number) => ({ iova: BigInt(iova), size: BigInt(size) });

describe("the mappings of a container", () => {
  it("are cut by what reaches into them and does not cover them", () => {
    const mapped = new MappedRanges();
    mapped.add(range(0x1000, 0x2000));
    mapped.add(range(0x3000, 0x1000));
    const cut = (iova: number, size: number) => mapped.cutBy(range(iova, size))?.iova;
    expect(cut(0x1000, 0x2000)).toBeUndefined();
    expect(cut(0, 0x4000)).toBeUndefined();
    expect(cut(0x4000, 0x1000)).toBeUndefined();
    expect(cut(0x1000, 0x1000)).toBe(0x1000n);
    expect(cut(0x2000, 0x2000)).toBe(0x1000n);
    expect(cut(0x1000, 0x2800)).toBe(0x3000n);
    expect(cut(0x1800, 0x100)).toBe(0x1000n);
  });

  it("are known until they are taken out, or all are", () => {
    const mapped = new MappedRanges();
    mapped.add(range(0x1000, 0x2000));
    mapped.add(range(0x3000, 0x1000));
    mapped.remove(range(0x1000, 0x2000));
    expect(mapped.cutBy(range(0x1000, 0x1000))).toBeUndefined();
    mapped.remove(range(0, 0x10000));
    expect(mapped.cutBy(range(0x3000, 0x800))).toBeUndefined();
    mapped.add(range(0x3000, 0x1000));
    mapped.clear();
    expect(mapped.cutBy(range(0x3000, 0x800))).toBeUndefined();
  });

  it("are cut exactly where a range has some of a mapping's pages and not all", () => {
    const pages = fc.integer({ min: 1, max: 4 });
    const layout = fc.array(fc.tuple(fc.boolean(), pages), { maxLength: 10 });
    const asked = fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 1, max: 20 }));
    fc.assert(
      fc.property(layout, asked, (parts, [start, length]) => {
        const mapped = new MappedRanges();
        const owners: (number | undefined)[] = [];
        for (const [isMapped, size] of parts) {
          if (isMapped) mapped.add(range(owners.length, size));
          owners.push(...new Array(size).fill(isMapped ? owners.length : undefined));
        }
        const inside = new Set(owners.slice(start, start + length).filter((owner) => owner !== undefined));
        const outside = new Set([...owners.slice(0, start), ...owners.slice(start + length)]);
        const cut = [...inside].filter((owner) => outside.has(owner)).map(BigInt);
        const found = mapped.cutBy(range(start, length))?.iova;
        expect(found === undefined ? cut.length === 0 : cut.includes(found)).toBe(true);
      }),
    );
  });
});

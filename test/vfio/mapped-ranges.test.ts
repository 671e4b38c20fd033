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

  it("are unmapped as they are without cutting one, until something in them is gone", () => {
    const mapped = new MappedRanges();
    mapped.add(range(0x1000, 0x2000));
    mapped.add(range(0x3000, 0x1000));
    const has = (iova: number, size: number) => mapped.has(range(iova, size));
    expect([has(0x1000, 0x2000), has(0x1000, 0x1000), has(0x2000, 0x1000)]).toEqual([true, false, false]);
    // That was unmapped alone: what was mapped there was not what is known of.
    mapped.remove(range(0x2000, 0x1000));
    expect([has(0x1000, 0x2000), has(0x3000, 0x1000)]).toEqual([false, true]);
    mapped.remove(range(0, 0x10000));
    expect(has(0x3000, 0x1000)).toBe(false);
  });

  it("are those that do not reach into what is gone", () => {
    const layout = fc.uniqueArray(fc.nat(12), { maxLength: 12 });
    fc.assert(
      fc.property(layout, fc.nat(40), fc.integer({ min: 1, max: 40 }), (slots, from, count) => {
        const mapped = new MappedRanges();
        const all = slots.map((slot) => range(slot * 3, 3));
        for (const each of all) mapped.add(each);
        mapped.remove(range(from, count));
        const [start, end] = [BigInt(from), BigInt(from + count)];
        expect(all.filter((each) => mapped.has(each))).toEqual(
          all.filter(({ iova, size }) => iova >= end || iova + size <= start),
        );
      }),
    );
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

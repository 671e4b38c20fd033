import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { choosePages } from "../../../../src/sim/linux/iommu/page-sizes.js";

const SIZES = [2 ** 12, 2 ** 21, 2 ** 30];
const choose = (iova: number, physicalAddress: number, length: number) => {
  const { size, count } = choosePages(SIZES, iova, physicalAddress, length, { size: 0, count: 0 });
  return [size, count];
};

describe("the choice of pages", () => {
  it.each([
    ["small ones up to where a large one fits", 0x1f_f000, 0x5f_f000, 2 ** 22, [2 ** 12, 1]],
    ["small ones all the way where the addresses never meet", 0x1000, 0x2000, 2 ** 22, [2 ** 12, 1024]],
    ["small ones where a large one would reach too far", 0x1f_f000, 0x5f_f000, 2 ** 20, [2 ** 12, 256]],
    ["large ones", 2 ** 21, 2 ** 22, 2 ** 23 + 2 ** 12, [2 ** 21, 4]],
    ["large ones up to where a huge one fits", 2 ** 29, 3 * 2 ** 29, 2 ** 31, [2 ** 21, 256]],
    ["huge ones", 2 ** 30, 2 ** 31, 2 ** 32 - 2 ** 12, [2 ** 30, 3]],
  ])("%s", (_name, iova, physicalAddress, length, expected) => {
    expect(choose(iova, physicalAddress, length)).toEqual(expected);
  });

  it("gets to the end with aligned pages, the largest that fit", () => {
    const page = fc.integer({ min: 0, max: 2 ** 20 });
    fc.assert(
      fc.property(page, page, fc.integer({ min: 1, max: 2 ** 19 }), (iova, physical, length) => {
        let [at, to, left] = [iova * 4096, physical * 4096, length * 4096];
        while (left > 0) {
          const [size = 0, count = 0] = choose(at, to, left);
          expect([at % size, to % size, count > 0, size * count <= left]).toEqual([0, 0, true, true]);
          const larger = SIZES.find((other) => other > size && other <= left && at % other === 0 && to % other === 0);
          expect(larger).toBeUndefined();
          at += size * count;
          to += size * count;
          left -= size * count;
        }
      }),
    );
  });
});

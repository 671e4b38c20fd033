import { expect, it } from "vitest";
import type { Mmio } from "../../src/syscalls/syscalls.js";
import { MappedAreas } from "../../src/vfio/mapped-areas.js";
import { fd, strictSyscalls } from "../support/strict-syscalls.js";

const GIB = 2 ** 30;

it("maps what is larger than a view may be in windows, each when it is touched", () => {
  const maps: [length: number, offset: bigint | undefined][] = [];
  const syscalls = strictSyscalls({
    mmap: ({ length, offset }) => {
      maps.push([length, offset]);
      return BigInt(maps.length) << 40n;
    },
    view: () => new ArrayBuffer(8),
    mmio: () => ({}) as Mmio,
  });
  const size = 4.5 * GIB;
  const areas = new MappedAreas(syscalls, [{ offset: 4096, size }], { fd: fd(5), prot: 3, base: 1n << 40n });
  expect(areas.at(0, 4)).toBeUndefined();
  const last = areas.at(4096 + 4 * GIB, 4);
  expect(last?.offset).toBe(4096 + 4 * GIB);
  expect(areas.at(4096 + size - 4, 4)).toBe(last);
  expect(areas.at(4096 + size - 2, 4)).toBeUndefined();
  expect(maps).toEqual([[GIB / 2, (1n << 40n) + BigInt(4096 + 4 * GIB)]]);
  areas.at(4096, 8);
  expect(maps.at(-1)).toEqual([GIB, (1n << 40n) + 4096n]);
});

import { describe, expect, it } from "vitest";
import { TypedArrayMmio } from "../../src/syscalls/typed-array-mmio.js";

describe.each([
  ["plain stores, as on x86-64", false],
  ["release stores, as on arm64", true],
])("TypedArrayMmio with %s", (_, releaseStores) => {
  const fresh = () => {
    const bytes = new Uint8Array(16).fill(0xee);
    return { bytes, mmio: new TypedArrayMmio(bytes.buffer, releaseStores) };
  };

  it("writes exactly the bytes of the width, little-endian", () => {
    const { bytes, mmio } = fresh();
    mmio.write8(1, 0x01);
    mmio.write16(2, 0x0302);
    mmio.write32(4, 0x07060504);
    mmio.write64(8, 0x0f0e0d0c0b0a0908n);
    expect([...bytes]).toEqual([0xee, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
  });

  it("reads them back unsigned", () => {
    const { mmio } = fresh();
    expect([mmio.read8(3), mmio.read16(2), mmio.read32(4), mmio.read64(8)]).toEqual([
      0xee,
      0xeeee,
      0xeeeeeeee,
      0xeeeeeeeeeeeeeeeen,
    ]);
  });

  it("keeps the low bits of values that are too large or negative", () => {
    const { bytes, mmio } = fresh();
    mmio.write8(0, 0x1ff);
    mmio.write16(2, -2);
    mmio.write32(4, 2 ** 32 + 1);
    mmio.write64(8, -1n);
    expect([...bytes]).toEqual([0xff, 0xee, 0xfe, 0xff, 1, 0, 0, 0, ...Array(8).fill(0xff)]);
  });
});

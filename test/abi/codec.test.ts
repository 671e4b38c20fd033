import fc from "fast-check";
import { describe, expect, expectTypeOf, it } from "vitest";
import { type Decoded, decodeArray, type Encodable, encodeArray, type Struct, struct } from "../../src/abi/codec.js";
import { argsz, array, bytes, fd, s32, s64, u8, u16, u32, u64 } from "../../src/abi/fields.js";
import { bitmap, dirtyBitmapGet, dmaMap, dmaUnmap } from "../../src/abi/vfio-container.js";
import { irqSet } from "../../src/abi/vfio-irq.js";
import { errorOf } from "./error-of.js";

/** A struct with every kind of field, holes between them and at the end. */
const everything = struct("everything", {
  argsz,
  a: u8,
  b: u16,
  c: u8,
  d: u64,
  e: s32,
  f: s64,
  g: bytes(3),
  h: array(u16, 3),
  i: bitmap,
  j: array(bitmap, 2),
  k: u8,
});

describe("struct layout", () => {
  it("aligns fields, pads the end and tells both, as C does", () => {
    const offsets = Object.fromEntries(everything.fields.map(({ name, offset }) => [name, offset]));
    expect(offsets).toEqual({ argsz: 0, a: 4, b: 6, c: 8, d: 16, e: 24, f: 32, g: 40, h: 44, i: 56, j: 80, k: 128 });
    expect({ size: everything.size, align: everything.align }).toEqual({ size: 136, align: 8 });
    expect(everything.offsetOf("i")).toBe(56);
    expect(everything.endOf("g")).toBe(43);
    expect(dmaUnmap.endOf("size")).toBe(24);
  });

  it("aligns for the flexible array too, whose elements are not there yet", () => {
    const list = struct("list", { count: u32 }, { name: "items", element: u64 });
    expect({ size: list.size, align: list.align }).toEqual({ size: 8, align: 8 });
  });

  it("refuses to name the place of a field that is not there", () => {
    const general: Struct = dmaMap;
    expect(errorOf(() => general.offsetOf("nothing")).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
  });
});

describe("encode", () => {
  it("lets argsz cover what trails, unless it is given", () => {
    const trailing = encodeArray(s32, [7, -1]);
    const encoded = irqSet.encode({ count: 2 }, trailing);
    expect(encoded.length).toBe(28);
    expect(irqSet.decode(encoded)).toMatchObject({ argsz: 28, count: 2 });
    expect(decodeArray(s32, encoded, irqSet.size, 2)).toEqual([7, -1]);
    expect(irqSet.decode(irqSet.encode({ argsz: 16 }, trailing)).argsz).toBe(16);
  });

  it("takes a 64-bit field as bigint or number alike", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (size) => {
        expect(dmaMap.encode({ size })).toEqual(dmaMap.encode({ size: BigInt(size) }));
      }),
    );
    fc.assert(
      fc.property(fc.maxSafeInteger(), (f) => {
        expect(everything.encode({ f })).toEqual(everything.encode({ f: BigInt(f) }));
      }),
    );
  });

  it("makes the bytes the kernel documents", () => {
    const encoded = dmaMap.encode({ flags: 3, vaddr: 0x7f00_1234_5000n, iova: 0x10_0000, size: 0x20_0000n });
    expect(Buffer.from(encoded).toString("hex")).toBe(
      ["20000000", "03000000", "00503412007f0000", "0000100000000000", "0000200000000000"].join(""),
    );
  });
});

describe("write and patch", () => {
  it("write leaves nothing of what was there, patch everything it is not given", () => {
    const buffer = new Uint8Array(dmaUnmap.size).fill(0xee);
    dmaUnmap.write(buffer, 0, { iova: 5 });
    expect(dmaUnmap.decode(buffer)).toEqual({ argsz: 24, flags: 0, iova: 5n, size: 0n });
    dmaUnmap.patch(buffer, 0, { size: 9 });
    expect(dmaUnmap.decode(buffer)).toEqual({ argsz: 24, flags: 0, iova: 5n, size: 9n });
    dmaUnmap.patch(buffer, 0, { argsz: 16 });
    expect(dmaUnmap.decode(buffer).argsz).toBe(16);
  });

  it("refuse a place outside the buffer and change nothing", () => {
    const buffer = new Uint8Array(dmaUnmap.size).fill(0xee);
    expect(errorOf(() => dmaUnmap.write(buffer, 1, {})).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    expect(errorOf(() => dmaUnmap.patch(buffer, -1, { size: 1 })).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    expect(buffer.every((byte) => byte === 0xee)).toBe(true);
  });
});

describe("arrays", () => {
  it("decodeArray refuses a count that the buffer cannot hold before it allocates", () => {
    for (const count of [2, 0xffff_ffff, -1, 0.5, Number.NaN]) {
      const error = errorOf(() => decodeArray(bitmap, new Uint8Array(40), 8, count));
      expect(error.code).toBe("ERR_IOSPAN_MALFORMED_ANSWER");
    }
    expect(decodeArray(bitmap, new Uint8Array(40), 8, 1)).toEqual([{ pgsize: 0n, size: 0n, data: 0n }]);
    expect(decodeArray(bitmap, new Uint8Array(0), 0, 0)).toEqual([]);
  });

  it("encodeArray names the element that does not fit", () => {
    expect(errorOf(() => encodeArray(s32, [0, 2 ** 31])).message).toContain("[1]: 2147483648 does not fit a __s32");
  });

  it("a decoded byte field is a copy", () => {
    const token = struct("token", { uuid: bytes(16) });
    const buffer = new Uint8Array(16);
    const { uuid } = token.decode(buffer);
    buffer.fill(1);
    expect(uuid).toEqual(new Uint8Array(16));
  });
});

describe("print", () => {
  it("reads like strace", () => {
    const values = dmaMap.decode(
      dmaMap.encode({ flags: 3, vaddr: 0x7f00_0000_0000n, iova: 0x10_0000, size: 0x20_0000 }),
    );
    expect(dmaMap.print(values)).toBe(
      "{argsz=32, flags=READ|WRITE, vaddr=0x7f0000000000, iova=0x100000, size=0x200000}",
    );
    const nested = dirtyBitmapGet.decode(dirtyBitmapGet.encode({ iova: 1, bitmap: { pgsize: 4096 } }));
    expect(dirtyBitmapGet.print(nested)).toBe("{iova=0x1, size=0x0, bitmap={pgsize=0x1000, size=0x0, data=0x0}}");
  });

  it("shows bytes, arrays and negative numbers, and reserved fields only when they are not zero", () => {
    const type = struct("type", { fd: s32, __reserved: u32, token: bytes(2), words: array(u32, 2), far: s64 });
    const values = type.decode(type.encode({ fd: -1, token: new Uint8Array([1, 255]), words: [3, 4], far: -5n }));
    expect(type.print(values)).toBe("{fd=-1, token=01 ff, words=[3, 4], far=-5}");
    expect(type.print({ ...values, __reserved: 1 })).toContain("__reserved=1");
  });
});

describe("descriptors", () => {
  const inner = struct("inner", { one: fd, other: s32 });
  const outer = struct("outer", { list: array(fd, 2), inner });
  const values = outer.decode(outer.encode({ list: [4, -1], inner: { one: 5, other: 6 } }));

  it("are printed with what they stand for, wherever they are", () => {
    const text = outer.print(values, (number) => `${number}<file ${number}>`);
    expect(text).toBe("{list=[4<file 4>, -1], inner={one=5<file 5>, other=6}}");
  });

  it("are numbers where nobody knows", () => {
    expect(outer.print(values)).toBe("{list=[4, -1], inner={one=5, other=6}}");
    expect(outer.texts(values)).toEqual([
      ["list", "[4, -1]"],
      ["inner", "{one=5, other=6}"],
    ]);
  });
});

describe("what follows a struct", () => {
  it("is told by its values", () => {
    const list = struct(
      "list",
      { count: u32, wide: u8 },
      { name: "items", element: u8, follows: ({ count, wide }) => ({ element: wide === 0 ? u8 : u64, count }) },
    );
    expect(list.flexible?.follows?.(list.decode(list.encode({ count: 3 })))).toEqual({ element: u8, count: 3 });
    expect(list.flexible?.follows?.(list.decode(list.encode({ wide: 1 })))).toEqual({ element: u64, count: 0 });
  });
});

describe("types", () => {
  it("follow from the table", () => {
    expectTypeOf<Decoded<typeof dirtyBitmapGet>>().toEqualTypeOf<{
      readonly iova: bigint;
      readonly size: bigint;
      readonly bitmap: { readonly pgsize: bigint; readonly size: bigint; readonly data: bigint };
    }>();
    expectTypeOf<Decoded<typeof everything>["g"]>().toEqualTypeOf<Uint8Array>();
    expectTypeOf<Decoded<typeof everything>["h"]>().toEqualTypeOf<readonly number[]>();
    expectTypeOf<Encodable<typeof dmaMap>["size"]>().toEqualTypeOf<bigint | number | undefined>();
    expectTypeOf(dmaMap).toExtend<Struct>();
    // @ts-expect-error no such field
    expect(() => dmaMap.encode({ length: 1 })).not.toThrow();
  });
});

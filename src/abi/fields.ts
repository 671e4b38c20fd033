/** How a file descriptor is shown: `19</dev/vfio/vfio>`. */
export type FdText = (fd: number) => string;

/**
 * The type of a field of a C struct: how many bytes, how aligned, and how a value becomes bytes and text.
 * `Out` is what reading gives, `In` what writing takes.
 */
export interface FieldType<Out = unknown, In = Out> {
  /** As C writes it: `__u32`, `struct vfio_bitmap`. */
  readonly cType: string;
  readonly size: number;
  readonly align: number;
  /** Whether `value` can be stored without loss. */
  fits(value: In): boolean;
  /** Stores a value that {@link fits}. */
  put(view: DataView, at: number, value: In): void;
  get(view: DataView, at: number): Out;
  /** As strace would show it, descriptors as `fdText` says: as numbers where it is absent. */
  print(value: Out, fdText?: FdText): string;
}

const decimal = (value: number): string => value.toString();
const hexadecimal = (value: bigint): string => (value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`);

// How the 32-bit checks work: a bitwise operator gives a number back unchanged exactly when it is an integer of that
// width, and `typeof` keeps bigints away from the operators, which would throw on mixed operands.

/** `__u8`. */
export const u8: FieldType<number> = {
  cType: "__u8",
  size: 1,
  align: 1,
  fits: (value) => typeof value === "number" && (value & 0xff) === value,
  put: (view, at, value) => view.setUint8(at, value),
  get: (view, at) => view.getUint8(at),
  print: decimal,
};

/** `__u16`. */
export const u16: FieldType<number> = {
  cType: "__u16",
  size: 2,
  align: 2,
  fits: (value) => typeof value === "number" && (value & 0xffff) === value,
  put: (view, at, value) => view.setUint16(at, value, true),
  get: (view, at) => view.getUint16(at, true),
  print: decimal,
};

/** `__u32`. */
export const u32: FieldType<number> = {
  cType: "__u32",
  size: 4,
  align: 4,
  fits: (value) => typeof value === "number" && value >>> 0 === value,
  put: (view, at, value) => view.setUint32(at, value, true),
  get: (view, at) => view.getUint32(at, true),
  print: decimal,
};

/** `__s32`. */
export const s32: FieldType<number> = {
  cType: "__s32",
  size: 4,
  align: 4,
  fits: (value) => typeof value === "number" && (value | 0) === value,
  put: (view, at, value) => view.setInt32(at, value, true),
  get: (view, at) => view.getInt32(at, true),
  print: decimal,
};

/** A `__s32` that holds a file descriptor, or none: -1. */
export const fd: FieldType<number> = {
  ...s32,
  print: (value, fdText = decimal) => (value < 0 ? decimal(value) : fdText(value)),
};

/**
 * The `__u32` with which VFIO (`argsz`) and iommufd (`size`) structs begin: how many bytes the caller passes.
 * Where no value is given the struct's size is written, trailing data included.
 */
export const argsz: FieldType<number> = { ...u32 };

// A safe integer is written as two halves because that costs a tenth of making a bigint of it.
function putInteger(view: DataView, at: number, value: number): void {
  view.setUint32(at, value, true);
  view.setInt32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}

/** `__u64`: addresses, sizes, pointers. Takes a bigint or a safe integer, gives a bigint. */
export const u64: FieldType<bigint, bigint | number> = {
  cType: "__u64",
  size: 8,
  align: 8,
  fits: (value) =>
    typeof value === "bigint" ? BigInt.asUintN(64, value) === value : Number.isSafeInteger(value) && value >= 0,
  put: (view, at, value) =>
    typeof value === "bigint" ? view.setBigUint64(at, value, true) : putInteger(view, at, value),
  get: (view, at) => view.getBigUint64(at, true),
  print: hexadecimal,
};

/** `__s64`. Takes a bigint or a safe integer, gives a bigint. */
export const s64: FieldType<bigint, bigint | number> = {
  cType: "__s64",
  size: 8,
  align: 8,
  fits: (value) => (typeof value === "bigint" ? BigInt.asIntN(64, value) === value : Number.isSafeInteger(value)),
  put: (view, at, value) =>
    typeof value === "bigint" ? view.setBigInt64(at, value, true) : putInteger(view, at, value),
  get: (view, at) => view.getBigInt64(at, true),
  print: (value) => value.toString(),
};

/** `__u8[length]`, read as a copy. Takes exactly that many bytes. */
export function bytes(length: number): FieldType<Uint8Array> {
  return {
    cType: `__u8[${length}]`,
    size: length,
    align: 1,
    fits: (value) => value instanceof Uint8Array && value.length === length,
    put: (view, at, value) => new Uint8Array(view.buffer, view.byteOffset + at, length).set(value),
    get: (view, at) => new Uint8Array(view.buffer, view.byteOffset + at, length).slice(),
    print: (value) => Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join(" "),
  };
}

/** `element[length]`. Takes exactly that many values. */
export function array<Out, In>(element: FieldType<Out, In>, length: number): FieldType<readonly Out[], readonly In[]> {
  const indexes = Array.from({ length }, (_, index) => index);
  return {
    cType: `${element.cType}[${length}]`,
    size: element.size * length,
    align: element.align,
    fits: (values) => Array.isArray(values) && values.length === length && values.every((value) => element.fits(value)),
    put: (view, at, values) => {
      for (const [index, value] of values.entries()) element.put(view, at + index * element.size, value);
    },
    get: (view, at) => indexes.map((index) => element.get(view, at + index * element.size)),
    print: (values, fdText) => `[${values.map((value) => element.print(value, fdText)).join(", ")}]`,
  };
}

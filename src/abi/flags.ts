import { type FieldType, u32 } from "./fields.js";

/** The pattern of the C names of a {@link NameSet}: `VFIO_DMA_MAP_FLAG_*`. */
export const cPattern: unique symbol = Symbol("C names");

/** Numbers by name, as a header's macros or enum define them. */
export type NameSet<T extends Readonly<Record<string, number>> = Readonly<Record<string, number>>> = T & {
  readonly [cPattern]: string;
};

/**
 * A header's group of constants. `pattern` gives the C name of each, its `*` standing for the key:
 * the constant `READ` of `VFIO_DMA_MAP_FLAG_*` is the macro `VFIO_DMA_MAP_FLAG_READ`.
 */
export function names<const T extends Readonly<Record<string, number>>>(pattern: string, values: T): NameSet<T> {
  return Object.freeze({ ...values, [cPattern]: pattern });
}

/** The C names of a set with their values, in order. */
export function cNames(set: NameSet): readonly (readonly [name: string, value: number])[] {
  return Object.entries(set).map(([key, value]) => [set[cPattern].replace("*", key), value]);
}

/** `READ|WRITE|0x8`: the names of the bits in `value`, what has no name as hex; `0` when none is set. */
export function flagNames(set: NameSet, value: number | bigint): string {
  return bitNames(Object.entries(set), value);
}

/** {@link flagNames} by the macros' whole names: `PROT_READ|PROT_WRITE`. */
export function cFlagNames(set: NameSet, value: number | bigint): string {
  return bitNames(cNames(set), value);
}

function bitNames(set: readonly (readonly [name: string, value: number])[], value: number | bigint): string {
  let rest = BigInt(value);
  const parts: string[] = [];
  for (const [name, flag] of set) {
    const bits = BigInt(flag);
    if (bits === 0n || (rest & bits) !== bits) continue;
    parts.push(name);
    rest &= ~bits;
  }
  if (rest !== 0n || parts.length === 0) parts.push(rest === 0n ? "0" : `0x${rest.toString(16)}`);
  return parts.join("|");
}

/** The name of a value of an enumeration, or the number itself. */
export function valueName(set: NameSet, value: number | bigint): string {
  return nameOf(Object.entries(set), value);
}

/** {@link valueName} by the macro's whole name: `VFIO_TYPE1v2_IOMMU`. */
export function cValueName(set: NameSet, value: number | bigint): string {
  return nameOf(cNames(set), value);
}

function nameOf(set: readonly (readonly [name: string, value: number])[], value: number | bigint): string {
  const found = set.find(([, number]) => BigInt(number) === BigInt(value));
  return found === undefined ? value.toString() : found[0];
}

/** A field holding bits of `set`; a `__u32` unless told otherwise. */
export function flags(set: NameSet): FieldType<number>;
export function flags<Out extends number | bigint, In>(set: NameSet, type: FieldType<Out, In>): FieldType<Out, In>;
export function flags(set: NameSet, type: FieldType<number> = u32): FieldType<number> {
  return { ...type, print: (value) => flagNames(set, value) };
}

/** A field holding one value of `set`; a `__u32` unless told otherwise. */
export function oneOf(set: NameSet): FieldType<number>;
export function oneOf<Out extends number | bigint, In>(set: NameSet, type: FieldType<Out, In>): FieldType<Out, In>;
export function oneOf(set: NameSet, type: FieldType<number> = u32): FieldType<number> {
  return { ...type, print: (value) => valueName(set, value) };
}

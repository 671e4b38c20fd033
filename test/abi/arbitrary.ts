import fc from "fast-check";
import type { Struct } from "../../src/abi/codec.js";
import type { FieldType } from "../../src/abi/fields.js";
import { isStruct } from "./tables.js";

/** Values of a field of any type, its extremes among them. */
export function valueFor(type: FieldType): fc.Arbitrary<unknown> {
  if (isStruct(type)) return valuesOf(type);
  const [, element = type.cType, length] = /^(.*?)(?:\[(\d+)\])?$/.exec(type.cType) ?? [];
  const scalar = scalarOf(element);
  if (length === undefined) return scalar;
  const count = Number(length);
  if (element === "__u8") return fc.uint8Array({ minLength: count, maxLength: count });
  return fc.array(scalar, { minLength: count, maxLength: count });
}

/** Values for every field of a struct. */
export function valuesOf(type: Struct): fc.Arbitrary<Record<string, unknown>> {
  return fc.record(Object.fromEntries(type.fields.map((field) => [field.name, valueFor(field.type)])));
}

/** Values that a field of this type must refuse, as a caller without types could pass them. */
export function misfitsOf(type: FieldType): readonly unknown[] {
  if (isStruct(type)) return [1, "1", null];
  const [, sign, digits] = /^__([us])(\d+)$/.exec(type.cType) ?? [];
  if (sign === undefined) return [new Uint8Array(type.size + 1), [], 1, "1", null];
  const bits = BigInt(digits ?? 0);
  const [least, most] = range(sign, bits);
  const always = [0.5, Number.NaN, Number.POSITIVE_INFINITY, "1", null, {}];
  if (bits === 64n) return [least - 1n, most + 1n, 2 ** 53, sign === "u" ? -1 : -(2 ** 53), ...always];
  return [Number(least) - 1, Number(most) + 1, 0n, ...always];
}

function scalarOf(cType: string): fc.Arbitrary<number | bigint> {
  const [, sign = "u", digits = "8"] = /^__([us])(\d+)$/.exec(cType) ?? [];
  const [min, max] = range(sign, BigInt(digits));
  return digits === "64" ? fc.bigInt({ min, max }) : fc.integer({ min: Number(min), max: Number(max) });
}

function range(sign: string, bits: bigint): readonly [least: bigint, most: bigint] {
  return sign === "s" ? [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n] : [0n, 2n ** bits - 1n];
}

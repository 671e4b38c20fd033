import { IospanError } from "../../../errors.js";
import { powers } from "./powers-of-two.js";

/** Consecutive bits of a record or register that hold a number. */
export interface NumberField {
  /** Lowest bit, counted from the start of the record. */
  readonly low: number;
  /** Bits. */
  readonly width: number;
  /** The value is what the bits hold, times 2^shift: addresses are stored without the bits that alignment makes zero. */
  readonly shift: number;
  readonly wide: false;
}

/** Consecutive bits that hold more than a number can: a whole 64-bit address. */
export interface WideField extends Omit<NumberField, "wide"> {
  readonly wide: true;
}

/** Part of a record or register. */
export type BitField = NumberField | WideField;

/** The fields of a record or register, by the architecture's names. None crosses a 64-bit word. */
export type BitFields = Readonly<Record<string, BitField>>;

type ValueOf<F extends BitField> = F extends WideField ? bigint : number;

/** What decoding gives: a value for each field. */
export type BitValues<F extends BitFields> = { readonly [K in keyof F]: ValueOf<F[K]> };

/** A number of `width` bits at bit `low`. */
export function bits(low: number, width = 1): NumberField {
  return { low, width, shift: 0, wide: false };
}

/** An address without its lowest `shift` bits, at bits `low` to `high`. */
export function address(high: number, low: number, shift: number): NumberField {
  return { low, width: high - low + 1, shift, wide: false };
}

/** As {@link address}, for addresses that use all 64 bits; its values are bigint. */
export function wideAddress(high: number, low: number, shift: number): WideField {
  return { low, width: high - low + 1, shift, wide: true };
}

/** A little-endian record in memory, as words of 64 bits. */
export interface RecordLayout<F extends BitFields> {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly fields: F;
  /**
   * The words of a record with these values; fields that are not given are 0.
   * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a value that does not fit its field.
   */
  encode(values: Partial<BitValues<F>>): bigint[];
  /** All fields of a record. Bits that belong to no field are ignored. */
  decode(words: ArrayLike<bigint>): BitValues<F>;
}

/** A record of `size` bytes. */
export function record<F extends BitFields>(name: string, size: number, fields: F): RecordLayout<F> {
  return {
    name,
    size,
    fields,
    encode: (values) => encode(name, size / 8, fields, values),
    decode: (words) => decode(fields, words),
  };
}

/** Words as the bytes they are in memory. */
export function wordsToBytes(words: ArrayLike<bigint>): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(words.length * 8);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < words.length; i++) view.setBigUint64(i * 8, words[i] ?? 0n, true);
  return bytes;
}

/** The words that lie in memory as these bytes. */
export function bytesToWords(bytes: Uint8Array): bigint[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: bytes.length / 8 }, (_, i) => view.getBigUint64(i * 8, true));
}

function encode<F extends BitFields>(name: string, count: number, fields: F, values: Partial<BitValues<F>>): bigint[] {
  const words = new Array<bigint>(count).fill(0n);
  for (const [key, value] of Object.entries(values)) {
    if (value === undefined) continue;
    const field = fields[key];
    if (field === undefined) throw misfit(name, key, value as number | bigint);
    const index = field.low >>> 6;
    const raw = rawValue(name, key, field, value as number | bigint);
    words[index] = (words[index] ?? 0n) | (raw << BigInt(field.low & 63));
  }
  return words;
}

function rawValue(name: string, key: string, { width, shift }: BitField, value: number | bigint): bigint {
  if (typeof value === "number" && !Number.isSafeInteger(value)) throw misfit(name, key, value);
  const raw = BigInt(value) >> BigInt(shift);
  if (raw << BigInt(shift) !== BigInt(value) || raw < 0n || raw >> BigInt(width) !== 0n) throw misfit(name, key, value);
  return raw;
}

function decode<F extends BitFields>(fields: F, words: ArrayLike<bigint>): BitValues<F> {
  const values: Record<string, number | bigint> = {};
  for (const [key, { low, width, shift, wide }] of Object.entries(fields)) {
    const raw = BigInt.asUintN(width, (words[low >>> 6] ?? 0n) >> BigInt(low & 63)) << BigInt(shift);
    values[key] = wide ? raw : Number(raw);
  }
  return values as BitValues<F>;
}

function misfit(name: string, key: string, value: number | bigint): IospanError {
  const message = `${name}.${key} cannot hold ${value < 0 ? value : `0x${value.toString(16)}`}`;
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", message, {
    hint: "the field's name, width and alignment are in the architecture's table of the record",
  });
}

/** A field's bits as they are in a record that is given as words of 32 bits; exact for fields of up to 53 bits. */
export function rawBits(words: ArrayLike<number>, { low, width }: Pick<BitField, "low" | "width">): number {
  let value = 0;
  let weight = 1;
  for (let at = low, left = width; left > 0; ) {
    const count = Math.min(left, 32 - (at & 31));
    const word = (words[at >>> 5] ?? 0) >>> (at & 31);
    value += (count === 32 ? word : word & ((1 << count) - 1)) * weight;
    weight *= powers[count] as number;
    at += count;
    left -= count;
  }
  return value;
}

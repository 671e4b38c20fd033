import { type ErrorCode, IospanError, malformedAnswer } from "../errors.js";
import { argsz, type FdText, type FieldType } from "./fields.js";

/** A struct's fields in the order C declares them, with the header's names. */
export type Fields = Readonly<Record<string, FieldType>>;

type OutOf<T> = T extends FieldType<infer Out, infer _> ? Out : never;
type InOf<T> = T extends FieldType<infer _, infer In> ? In : never;
type Output<F extends Fields> = { readonly [K in keyof F]: OutOf<F[K]> };
type Input<F extends Fields> = { readonly [K in keyof F]?: InOf<F[K]> | undefined };

/** What {@link Struct.decode} gives: `Decoded<typeof dmaMap>`. */
export type Decoded<S extends FieldType> = OutOf<S>;
/** What {@link Struct.encode} takes: every field optional, `__u64` also as a number. */
export type Encodable<S extends FieldType> = InOf<S>;

/** Where a field of a {@link Struct} lies. */
export interface Field {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  readonly type: FieldType;
}

/** The array of any length that some structs end in; how many elements follow is told by a field or by `argsz`. */
export interface FlexibleArray<Values = unknown> {
  readonly name: string;
  readonly element: FieldType;
  /** What lies there, by the fields before it. */
  follows?(values: Values): Following | undefined;
}

/** What follows a struct: `count` elements, or one value where `count` is absent. */
export interface Following {
  readonly element: FieldType;
  readonly count?: number;
}

/**
 * A C struct on a 64-bit little-endian ABI. It is a field type itself, so structs nest.
 * Wherever values are written, a number that does not fit its field throws `ERR_IOSPAN_INVALID_ARGUMENT`.
 */
export interface Struct<F extends Fields = Fields> extends FieldType<Output<F>, Input<F>> {
  /** The tag: `vfio_iommu_type1_dma_map`. */
  readonly name: string;
  /** sizeof. */
  readonly size: number;
  readonly fields: readonly Field[];
  /** What follows at offset {@link size}; not part of what is decoded. */
  readonly flexible: FlexibleArray | undefined;
  /** offsetof. */
  offsetOf(field: keyof F & string): number;
  /** The kernel's offsetofend: how many bytes reach up to and including `field`, what an `argsz` must cover at least. */
  endOf(field: keyof F & string): number;
  /** The struct's bytes, then `trailing` (its flexible array's). Missing fields are 0, a missing `argsz` is the length of both. */
  encode(values?: Input<F>, trailing?: Uint8Array): Uint8Array<ArrayBuffer>;
  /** Overwrites the whole struct at `at`; missing fields become 0, a missing `argsz` the struct's size. */
  write(into: Uint8Array, at: number, values: Input<F>): void;
  /** Overwrites only the fields given. */
  patch(into: Uint8Array, at: number, values: Input<F>): void;
  /** @throws IospanError `ERR_IOSPAN_MALFORMED_ANSWER` when fewer than `size` bytes follow `at`. */
  decode(from: Uint8Array, at?: number): Output<F>;
  /** The text of each field, reserved ones that are zero left out: what `print` puts together. */
  texts(values: Output<F>, fdText?: FdText): readonly FieldText[];
}

/** One field as text. */
export type FieldText = readonly [field: string, text: string];

/**
 * Lays out a struct the way C does: each field at the next multiple of its alignment, the size rounded up to the
 * largest alignment.
 */
export function struct<F extends Fields>(name: string, fields: F, flexible?: FlexibleArray<Output<F>>): Struct<F> {
  return new Layout(name, fields, flexible);
}

class Layout<F extends Fields> implements Struct<F> {
  readonly cType: string;
  readonly name: string;
  readonly size: number;
  readonly align: number;
  readonly fields: readonly Field[];
  readonly flexible: FlexibleArray | undefined;

  constructor(name: string, fields: F, flexible: FlexibleArray<Output<F>> | undefined) {
    this.name = name;
    this.cType = `struct ${name}`;
    this.fields = layOut(fields);
    this.flexible = flexible;
    this.align = Math.max(flexible?.element.align ?? 1, ...this.fields.map((field) => field.type.align));
    const last = this.fields.at(-1);
    this.size = last === undefined ? 0 : roundUp(last.offset + last.size, this.align);
  }

  offsetOf(field: keyof F & string): number {
    return this.#field(field).offset;
  }

  endOf(field: keyof F & string): number {
    const { offset, size } = this.#field(field);
    return offset + size;
  }

  #field(name: string): Field {
    const field = this.fields.find((candidate) => candidate.name === name);
    if (field === undefined)
      throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `struct ${this.name} has no field ${name}`, {
        hint: `it has ${this.fields.map((each) => each.name).join(", ")}`,
      });
    return field;
  }

  encode(values: Input<F> = {}, trailing?: Uint8Array): Uint8Array<ArrayBuffer> {
    const length = this.size + (trailing?.length ?? 0);
    const encoded = new Uint8Array(length);
    if (trailing !== undefined) encoded.set(trailing, this.size);
    this.#putAll(new DataView(encoded.buffer), 0, values, length);
    return encoded;
  }

  write(into: Uint8Array, at: number, values: Input<F>): void {
    const view = this.#view(into, at, "ERR_IOSPAN_INVALID_ARGUMENT");
    into.fill(0, at, at + this.size);
    this.#putAll(view, at, values, this.size);
  }

  patch(into: Uint8Array, at: number, values: Input<F>): void {
    this.#putGiven(this.#view(into, at, "ERR_IOSPAN_INVALID_ARGUMENT"), at, values);
  }

  decode(from: Uint8Array, at = 0): Output<F> {
    return this.get(this.#view(from, at, "ERR_IOSPAN_MALFORMED_ANSWER"), at);
  }

  fits(values: Input<F>): boolean {
    return typeof values === "object" && values !== null; // put() checks each field and names the one that does not fit
  }

  put(view: DataView, at: number, values: Input<F>): void {
    this.#putAll(view, at, values, this.size);
  }

  get(view: DataView, at: number): Output<F> {
    const values: Record<string, unknown> = {};
    for (const field of this.fields) values[field.name] = field.type.get(view, at + field.offset);
    return values as Output<F>;
  }

  print(values: Output<F>, fdText?: FdText): string {
    return printTexts(this.texts(values, fdText));
  }

  texts(values: Output<F>, fdText?: FdText): readonly FieldText[] {
    const texts: FieldText[] = [];
    for (const { name, type } of this.fields) {
      const value = values[name];
      if (!(isReserved(name) && isZero(value))) texts.push([name, type.print(value, fdText)]);
    }
    return texts;
  }

  #putAll(view: DataView, at: number, values: Input<F>, length: number): void {
    for (const field of this.fields) {
      const value: unknown = values[field.name];
      if (value !== undefined) this.#putField(view, at, field, value);
      else if (field.type === argsz) view.setUint32(at + field.offset, length, true);
    }
  }

  #putGiven(view: DataView, at: number, values: Input<F>): void {
    for (const field of this.fields) {
      const value: unknown = values[field.name];
      if (value !== undefined) this.#putField(view, at, field, value);
    }
  }

  #putField(view: DataView, at: number, field: Field, value: unknown): void {
    if (!field.type.fits(value)) throw misfit(`${this.name}.${field.name}`, field.type, value);
    field.type.put(view, at + field.offset, value);
  }

  #view(bytes: Uint8Array, at: number, code: ErrorCode): DataView {
    if (!isIndex(at) || at + this.size > bytes.length) {
      throw new IospanError(
        code,
        `${this.cType} is ${this.size} bytes; at offset ${at} of ${bytes.length} it does not fit`,
        { hint: "pass a buffer that holds all of it" },
      );
    }
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
}

/** `{argsz=8, flags=VIABLE}` */
export function printTexts(texts: readonly FieldText[]): string {
  return `{${texts.map(([field, text]) => `${field}=${text}`).join(", ")}}`;
}

/**
 * The elements of a flexible array: `count` of them from `at` on.
 * @throws IospanError `ERR_IOSPAN_MALFORMED_ANSWER` when the buffer does not hold that many, before anything is allocated.
 */
export function decodeArray<Out, In>(
  element: FieldType<Out, In>,
  from: Uint8Array,
  at: number,
  count: number,
): readonly Out[] {
  if (!isIndex(at) || !isIndex(count) || at + count * element.size > from.length) {
    const message = `${count} elements of ${element.cType} at offset ${at} do not fit ${from.length} bytes`;
    throw malformedAnswer(message);
  }
  const view = new DataView(from.buffer, from.byteOffset, from.byteLength);
  return Array.from({ length: count }, (_, index) => element.get(view, at + index * element.size));
}

/**
 * The bytes of a flexible array, for {@link Struct.encode}'s `trailing`.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a value that does not fit.
 */
export function encodeArray<Out, In>(element: FieldType<Out, In>, values: readonly In[]): Uint8Array<ArrayBuffer> {
  const encoded = new Uint8Array(values.length * element.size);
  const view = new DataView(encoded.buffer);
  for (const [index, value] of values.entries()) {
    if (!element.fits(value)) throw misfit(`[${index}]`, element, value);
    element.put(view, index * element.size, value);
  }
  return encoded;
}

function layOut(fields: Fields): readonly Field[] {
  let end = 0;
  return Object.entries(fields).map(([name, type]) => {
    const offset = roundUp(end, type.align);
    end = offset + type.size;
    return { name, offset, size: type.size, type };
  });
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

const isIndex = (value: number): boolean => Number.isInteger(value) && value >= 0;
const isReserved = (field: string): boolean => /^_*(reserved|resv|pad)/.test(field);

function isZero(value: unknown): boolean {
  return value === 0 || value === 0n || (value instanceof Uint8Array && value.every((byte) => byte === 0));
}

function misfit(where: string, type: { readonly cType: string }, value: unknown): IospanError {
  const shown = typeof value === "number" || typeof value === "bigint" ? `${value}` : typeof value;
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${where}: ${shown} does not fit a ${type.cType}`, {
    hint: "pass an integer in the range of that type",
  });
}

/** Bytes of a table, little-endian, written field by field. */
export class TableWriter {
  readonly bytes: number[] = [];

  get length(): number {
    return this.bytes.length;
  }

  u8(...values: readonly number[]): this {
    this.bytes.push(...values.map((value) => value & 0xff));
    return this;
  }

  u16(...values: readonly number[]): this {
    for (const value of values) this.u8(value, value >>> 8);
    return this;
  }

  u32(...values: readonly number[]): this {
    for (const value of values) this.u16(value & 0xffff, value >>> 16);
    return this;
  }

  u64(...values: readonly bigint[]): this {
    for (const value of values) this.u32(Number(value & 0xffff_ffffn), Number(value >> 32n));
    return this;
  }

  text(text: string): this {
    return this.u8(...new TextEncoder().encode(text), 0);
  }

  /** Zeros up to a length. */
  upTo(length: number): this {
    while (this.length < length) this.u8(0);
    return this;
  }
}

/** A table with its header and a right checksum. */
export function acpiTable(signature: string, revision: number, body: readonly number[]): Uint8Array {
  const writer = new TableWriter();
  writer
    .u8(...new TextEncoder().encode(signature))
    .u32(36 + body.length)
    .u8(revision, 0);
  writer
    .u8(...new TextEncoder().encode("IOSPAN"))
    .u8(...new TextEncoder().encode("TOPOLOGY"))
    .u32(1);
  writer
    .u8(...new TextEncoder().encode("TEST"))
    .u32(1)
    .u8(...body);
  return summed(Uint8Array.from(writer.bytes));
}

/** The bytes with the checksum that they should have. */
export function summed(bytes: Uint8Array): Uint8Array {
  bytes[9] = 0;
  bytes[9] = -bytes.reduce((sum, each) => sum + each, 0) & 0xff;
  return bytes;
}

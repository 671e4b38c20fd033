import { IospanError } from "../../errors.js";

/** Bytes of the header that all tables have (ACPI 6.5, 5.2.6). */
export const TABLE_HEADER = 36;
const LENGTH_AT = 4;
const CHECKSUM_AT = 9;

/**
 * An ACPI table, or a part of one, of which nothing is read outside its bounds. Everything is little-endian; offsets in
 * errors are those in the table.
 */
export class TableBytes {
  readonly table: string;
  /** Where this part begins in the table. */
  readonly start: number;
  readonly length: number;
  readonly #view: DataView;

  constructor(table: string, view: DataView, start = 0, length = view.byteLength) {
    this.table = table;
    this.start = start;
    this.length = length;
    this.#view = view;
  }

  u8(at: number): number {
    return this.#view.getUint8(this.#checked(at, 1));
  }

  u16(at: number): number {
    return this.#view.getUint16(this.#checked(at, 2), true);
  }

  u32(at: number): number {
    return this.#view.getUint32(this.#checked(at, 4), true);
  }

  u64(at: number): bigint {
    return this.#view.getBigUint64(this.#checked(at, 8), true);
  }

  /** Text up to a NUL or the end. */
  text(at: number): string {
    let text = "";
    for (let offset = at; offset < this.length; offset++) {
      const code = this.u8(offset);
      if (code === 0) break;
      text += String.fromCharCode(code);
    }
    return text;
  }

  /** @throws IospanError `ERR_IOSPAN_ACPI_TABLE` where it is not inside this part. */
  part(at: number, length: number): TableBytes {
    this.#checked(at, length);
    return new TableBytes(this.table, this.#view, this.start + at, length);
  }

  /** @param at where in this part */
  fail(at: number, problem: string): never {
    throw tableError(this.table, this.start + at, problem);
  }

  #checked(at: number, size: number): number {
    if (at < 0 || size < 0 || at + size > this.length) {
      this.fail(at, `${size} bytes are wanted here, and there are ${Math.max(0, this.length - at)}`);
    }
    return this.start + at;
  }
}

/**
 * Checks what all tables have in common.
 * @param signature four letters
 * @throws IospanError `ERR_IOSPAN_ACPI_TABLE` for another table, one that is cut off, or a wrong checksum. Bytes behind its
 * end are ignored.
 */
export function openTable(bytes: Uint8Array, signature: string): TableBytes {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found = new TextDecoder("latin1").decode(bytes.subarray(0, 4));
  if (bytes.length < TABLE_HEADER) throw tableError(signature, 0, `its header is cut off after ${bytes.length} bytes`);
  if (found !== signature) throw tableError(signature, 0, `it begins with ${JSON.stringify(found)}`);
  const length = view.getUint32(LENGTH_AT, true);
  if (length > bytes.length || length < TABLE_HEADER) {
    throw tableError(signature, LENGTH_AT, `it should have ${length} bytes and has ${bytes.length}`);
  }
  const sum = bytes.subarray(0, length).reduce((total, each) => (total + each) & 0xff, 0);
  if (sum !== 0) throw tableError(signature, CHECKSUM_AT, `its checksum is wrong: all bytes add up to ${sum}, not 0`);
  return new TableBytes(signature, view, 0, length);
}

/** The signature of a table, `IORT`; undefined for what is too short to be one. */
export function tableSignature(bytes: Uint8Array): string | undefined {
  return bytes.length < TABLE_HEADER ? undefined : new TextDecoder("latin1").decode(bytes.subarray(0, 4));
}

function tableError(table: string, offset: number, problem: string): IospanError {
  return new IospanError("ERR_IOSPAN_ACPI_TABLE", `${table}: byte 0x${offset.toString(16)}: ${problem}`, {
    hint: `take the table from /sys/firmware/acpi/tables/${table}, or make it with iasl; iasl -d shows what is in it`,
  });
}

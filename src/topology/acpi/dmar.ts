import { openTable, TABLE_HEADER, type TableBytes } from "./table.js";

/** What a device scope names (Intel VT-d 8.3.1). */
export interface DmarScope {
  readonly type: "endpoint" | "bridge" | "ioapic" | "hpet" | "namespace" | "unknown";
  /** The bus that the path begins on. */
  readonly bus: number;
  /** Device and function on that bus, then on the one behind it, … */
  readonly path: readonly { readonly device: number; readonly function: number }[];
}

/** A remapping unit (DRHD). */
export interface DmarUnit {
  readonly offset: number;
  readonly segment: number;
  readonly address: bigint;
  /** Whether it is for all devices of the segment that no other unit names. */
  readonly includesAll: boolean;
  readonly scopes: readonly DmarScope[];
}

/** Memory that firmware keeps mapped one to one for some devices (RMRR). */
export interface DmarReserved {
  readonly segment: number;
  readonly start: bigint;
  /** The last address inside. */
  readonly end: bigint;
  readonly scopes: readonly DmarScope[];
}

/** Units and reserved memory of an Intel machine; other structures are passed over. */
export interface Dmar {
  readonly units: readonly DmarUnit[];
  readonly reserved: readonly DmarReserved[];
}

const FIRST = TABLE_HEADER + 12;
const HEADER = 4;
const INCLUDE_ALL = 1;
const SCOPE_HEADER = 6;
const SCOPE_TYPES = ["unknown", "endpoint", "bridge", "ioapic", "hpet", "namespace"] as const;

/**
 * Reads a DMAR table (Intel VT-d, chapter 8).
 * @throws IospanError `ERR_IOSPAN_ACPI_TABLE` for anything malformed, with the offset in the table.
 */
export function parseDmar(bytes: Uint8Array): Dmar {
  const table = openTable(bytes, "DMAR");
  const units: DmarUnit[] = [];
  const reserved: DmarReserved[] = [];
  for (let at = FIRST; at < table.length; ) {
    const length = table.u16(at + 2);
    if (length < HEADER) table.fail(at + 2, `a structure of ${length} bytes has no room for its header`);
    const part = table.part(at, length);
    if (part.u16(0) === 0) units.push(readUnit(part));
    if (part.u16(0) === 1) reserved.push(readReserved(part));
    at += length;
  }
  return { units, reserved };
}

function readUnit(part: TableBytes): DmarUnit {
  return {
    offset: part.start,
    segment: part.u16(6),
    address: part.u64(8),
    includesAll: (part.u8(4) & INCLUDE_ALL) !== 0,
    scopes: readScopes(part, 16),
  };
}

function readReserved(part: TableBytes): DmarReserved {
  return { segment: part.u16(6), start: part.u64(8), end: part.u64(16), scopes: readScopes(part, 24) };
}

function readScopes(part: TableBytes, start: number): readonly DmarScope[] {
  const scopes: DmarScope[] = [];
  for (let at = start; at < part.length; ) {
    const length = part.u8(at + 1);
    if (length < SCOPE_HEADER) part.fail(at + 1, `a device scope of ${length} bytes has no room for its header`);
    const scope = part.part(at, length);
    const path = Array.from({ length: (length - SCOPE_HEADER) >> 1 }, (_, index) => ({
      device: scope.u8(SCOPE_HEADER + 2 * index),
      function: scope.u8(SCOPE_HEADER + 2 * index + 1),
    }));
    scopes.push({ type: SCOPE_TYPES[scope.u8(0)] ?? "unknown", bus: scope.u8(5), path });
    at += length;
  }
  return scopes;
}

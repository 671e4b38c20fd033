import { openTable, TABLE_HEADER, type TableBytes } from "./table.js";

/** Requester IDs that a unit translates, both ends inside. */
export interface IvrsRange {
  readonly first: number;
  readonly last: number;
}

/** A unit (IVHD; AMD I/O Virtualization Technology 5.2.2). */
export interface IvrsUnit {
  readonly offset: number;
  /** The unit's own requester ID. */
  readonly id: number;
  readonly segment: number;
  readonly address: bigint;
  readonly ranges: readonly IvrsRange[];
}

/** Memory that firmware keeps for some requester IDs (IVMD). */
export interface IvrsMemory {
  readonly first: number;
  readonly last: number;
  readonly start: bigint;
  readonly length: bigint;
  /** `direct` is mapped one to one, `reserved` is left out of translation. */
  readonly type: "direct" | "reserved";
}

/** Units and reserved memory of an AMD machine. */
export interface Ivrs {
  readonly units: readonly IvrsUnit[];
  readonly memory: readonly IvrsMemory[];
}

const FIRST = TABLE_HEADER + 12;
const HEADER = 6;
const IVHD_SIZE: Readonly<Record<number, number>> = { 16: 24, 17: 40, 64: 40 };
const IVMD_ALL = 0x20;
const IVMD_SELECT = 0x21;
const IVMD_RANGE = 0x22;
const EXCLUSION = 1 << 3;
const LAST_ID = 0xffff;
const ENTRY = {
  all: 1,
  select: 2,
  start: 3,
  end: 4,
  aliasSelect: 66,
  aliasStart: 67,
  extSelect: 70,
  extStart: 71,
  hid: 240,
};

/**
 * Reads an IVRS table. A unit that is there in several forms, for older and newer readers, is taken in the newest.
 * @throws IospanError `ERR_IOSPAN_ACPI_TABLE` for anything malformed, with the offset in the table.
 */
export function parseIvrs(bytes: Uint8Array): Ivrs {
  const table = openTable(bytes, "IVRS");
  const units = new Map<string, IvrsUnit & { readonly form: number }>();
  const memory: IvrsMemory[] = [];
  for (let at = FIRST; at < table.length; ) {
    const length = table.u16(at + 2);
    if (length < HEADER) table.fail(at + 2, `a block of ${length} bytes has no room for its header`);
    const part = table.part(at, length);
    const form = part.u8(0);
    if (form in IVHD_SIZE) {
      const unit = { ...readUnit(part, IVHD_SIZE[form] ?? 0), form };
      const key = `${unit.segment} ${unit.id}`;
      if ((units.get(key)?.form ?? 0) < form) units.set(key, unit);
    } else if (form >= IVMD_ALL && form <= IVMD_RANGE) memory.push(readMemory(part, form));
    at += length;
  }
  return { units: [...units.values()].map(({ form: _, ...unit }) => unit), memory };
}

function readUnit(part: TableBytes, size: number): IvrsUnit {
  return {
    offset: part.start,
    id: part.u16(4),
    segment: part.u16(16),
    address: part.u64(8),
    ranges: readEntries(part, size),
  };
}

function readEntries(part: TableBytes, start: number): readonly IvrsRange[] {
  const ranges: IvrsRange[] = [];
  let open: number | undefined;
  for (let at = start; at < part.length; ) {
    const type = part.u8(at);
    const id = part.u16(at + 1);
    if (type === ENTRY.all) ranges.push({ first: 0, last: LAST_ID });
    if (type === ENTRY.select || type === ENTRY.aliasSelect || type === ENTRY.extSelect)
      ranges.push({ first: id, last: id });
    if (type === ENTRY.start || type === ENTRY.aliasStart || type === ENTRY.extStart) open = id;
    if (type === ENTRY.end) {
      if (open === undefined || open > id) part.fail(at, "the end of a range has no beginning");
      ranges.push({ first: open, last: id });
      open = undefined;
    }
    at += entryLength(part, at, type);
  }
  if (open !== undefined) part.fail(0, "a range of IDs has no end");
  return ranges;
}

/** In the two upper bits of the type, or, where the entry has a name in it, behind it. */
function entryLength(part: TableBytes, at: number, type: number): number {
  if (type >= ENTRY.hid) return 22 + part.u8(at + 21);
  return 4 << (type >> 6);
}

function readMemory(part: TableBytes, form: number): IvrsMemory {
  const [id, aux] = [part.u16(4), part.u16(6)];
  const first = form === IVMD_ALL ? 0 : id;
  const last = form === IVMD_ALL ? LAST_ID : form === IVMD_SELECT ? id : aux;
  const type = (part.u8(1) & EXCLUSION) !== 0 ? "reserved" : "direct";
  return { first, last, start: part.u64(16), length: part.u64(24), type };
}

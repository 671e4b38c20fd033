import type { FaultCause } from "./fault.js";

/** Where a field of an event record is. */
interface EventField {
  /** Which of the four doublewords. */
  readonly word: 0 | 1 | 2 | 3;
  /** Its lowest bit. */
  readonly low: number;
  /** How many bits. */
  readonly width: number;
}

/** The fields of an event record (Arm IHI 0070, 7.3; arm-smmu-v3.h, EVTQ_*). Which of them count is {@link smmuv3Events}' to say. */
export const eventFields = {
  id: { word: 0, low: 0, width: 8 },
  substreamValid: { word: 0, low: 11, width: 1 },
  substreamId: { word: 0, low: 12, width: 20 },
  streamId: { word: 0, low: 32, width: 32 },
  stallTag: { word: 1, low: 0, width: 16 },
  stalled: { word: 1, low: 31, width: 1 },
  privileged: { word: 1, low: 33, width: 1 },
  instruction: { word: 1, low: 34, width: 1 },
  read: { word: 1, low: 35, width: 1 },
  stage2: { word: 1, low: 39, width: 1 },
  class: { word: 1, low: 40, width: 2 },
  tableRead: { word: 1, low: 44, width: 1 },
  inputAddress: { word: 2, low: 0, width: 64 },
  /** Bits 51 to 3: the intermediate address has 51 to 12 of them. */
  fetchAddress: { word: 3, low: 3, width: 49 },
} as const satisfies Readonly<Record<string, EventField>>;

/**
 * Groups of fields. `input`: the device's address; `direction`: read or write; `attributes`: privileged, instruction; `walk`:
 * stage, class, stall; `intermediate` and `fetch`: the last doubleword.
 */
type FieldGroup = "input" | "direction" | "attributes" | "walk" | "intermediate" | "fetch";

interface EventKind {
  readonly name: string;
  readonly cause: FaultCause;
  /** What its record has besides the StreamID and the SubstreamID. */
  readonly has: readonly FieldGroup[];
}

const kind = (name: string, cause: FaultCause, ...has: FieldGroup[]): EventKind => ({ name, cause, has });
const ACCESS = ["input", "direction", "attributes"] as const;
const FAULT = [...ACCESS, "walk", "intermediate"] as const;

/** Event numbers (Arm IHI 0070, 7.3.1) and the fields that each has (7.3.2 to 7.3.21). */
export const smmuv3Events: ReadonlyMap<number, EventKind> = new Map([
  [0x01, kind("F_UUT", "hardware", ...ACCESS)],
  [0x02, kind("C_BAD_STREAMID", "unknown-stream")],
  [0x03, kind("F_STE_FETCH", "table-fetch", "fetch")],
  [0x04, kind("C_BAD_STE", "configuration")],
  [0x05, kind("F_BAD_ATS_TREQ", "blocked", "input")],
  [0x06, kind("F_STREAM_DISABLED", "blocked")],
  [0x07, kind("F_TRANSL_FORBIDDEN", "blocked", "input", "direction")],
  [0x08, kind("C_BAD_SUBSTREAMID", "configuration")],
  [0x09, kind("F_CD_FETCH", "table-fetch", "fetch")],
  [0x0a, kind("C_BAD_CD", "configuration")],
  [0x0b, kind("F_WALK_EABT", "table-fetch", ...ACCESS, "walk", "fetch")],
  [0x10, kind("F_TRANSLATION", "not-mapped", ...FAULT)],
  [0x11, kind("F_ADDR_SIZE", "address-size", ...FAULT)],
  [0x12, kind("F_ACCESS", "not-permitted", ...FAULT)],
  [0x13, kind("F_PERMISSION", "not-permitted", ...FAULT)],
  [0x20, kind("F_TLB_CONFLICT", "hardware", ...ACCESS)],
  [0x21, kind("F_CFG_CONFLICT", "hardware")],
  [0x24, kind("E_PAGE_REQUEST", "not-mapped")],
  [0x25, kind("F_VMS_FETCH", "table-fetch", "fetch")],
]);

/** What an SMMUv3 was looking for when the fault came: CLASS (arm-smmu-v3.c, event_class_str). */
const CLASSES = ["CD", "TT", "IN", "reserved"] as const;

/** An event record, read. What its kind of event does not have is undefined. */
export interface Smmuv3Event {
  readonly id: number;
  /** Undefined for a number that the architecture does not define. */
  readonly name: string | undefined;
  readonly cause: FaultCause;
  readonly streamId: number;
  /** Undefined for an access without one. */
  readonly substreamId: number | undefined;
  readonly access: "read" | "write" | undefined;
  readonly privileged: boolean | undefined;
  readonly instruction: boolean | undefined;
  readonly stage: 1 | 2 | undefined;
  /** `CD`: fetching a context descriptor; `TT`: a translation table; `IN`: translating the device's own address. */
  readonly class: (typeof CLASSES)[number] | undefined;
  /** How a translation table was accessed. */
  readonly tableAccess: "read" | "write" | undefined;
  readonly stalled: boolean | undefined;
  readonly stallTag: number | undefined;
  readonly inputAddress: bigint | undefined;
  readonly intermediateAddress: bigint | undefined;
  readonly fetchAddress: bigint | undefined;
}

/** Reads an event record of four doublewords. Any bits mean something; missing doublewords count as 0. */
export function decodeSmmuv3Event(words: readonly bigint[]): Smmuv3Event {
  const get = (field: EventField) => (BigInt.asUintN(64, words[field.word] ?? 0n) >> BigInt(field.low)) & mask(field);
  const flag = (field: EventField) => get(field) === 1n;
  const id = Number(get(eventFields.id));
  const { name, cause = "unknown", has = [] } = smmuv3Events.get(id) ?? {};
  const only = <T>(group: FieldGroup, value: T) => (has.includes(group) ? value : undefined);
  const entry = only("walk", CLASSES[Number(get(eventFields.class))]);
  const fetched = get(eventFields.fetchAddress) << BigInt(eventFields.fetchAddress.low);
  return {
    id,
    name,
    cause,
    streamId: Number(get(eventFields.streamId)),
    substreamId: flag(eventFields.substreamValid) ? Number(get(eventFields.substreamId)) : undefined,
    access: only("direction", readOrWrite(flag(eventFields.read))),
    privileged: only("attributes", flag(eventFields.privileged)),
    instruction: only("attributes", flag(eventFields.instruction)),
    stage: only("walk", flag(eventFields.stage2) ? 2 : 1),
    class: entry,
    tableAccess: entry === "TT" ? readOrWrite(flag(eventFields.tableRead)) : undefined,
    stalled: only("walk", flag(eventFields.stalled)),
    stallTag: only("walk", Number(get(eventFields.stallTag))),
    inputAddress: only("input", get(eventFields.inputAddress)),
    intermediateAddress: only("intermediate", fetched & ~0xfffn),
    fetchAddress: only("fetch", fetched),
  };
}

/** The number of an event by its name. */
export function smmuv3EventId(name: string): number | undefined {
  return [...smmuv3Events].find(([, each]) => each.name === name)?.[0];
}

function mask({ width }: EventField): bigint {
  return (1n << BigInt(width)) - 1n;
}

function readOrWrite(isRead: boolean): "read" | "write" {
  return isRead ? "read" : "write";
}

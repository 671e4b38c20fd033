import { address, bits, bytesToWords, record, wideAddress } from "./bit-fields.js";

/** Bytes of an event record (Arm IHI 0070, 7.3). */
export const EVENT_SIZE = 32;

/** Event numbers (7.3.1). */
export const eventIds = {
  F_UUT: 0x01,
  C_BAD_STREAMID: 0x02,
  F_STE_FETCH: 0x03,
  C_BAD_STE: 0x04,
  F_BAD_ATS_TREQ: 0x05,
  F_STREAM_DISABLED: 0x06,
  F_TRANSL_FORBIDDEN: 0x07,
  C_BAD_SUBSTREAMID: 0x08,
  F_CD_FETCH: 0x09,
  C_BAD_CD: 0x0a,
  F_WALK_EABT: 0x0b,
  F_TRANSLATION: 0x10,
  F_ADDR_SIZE: 0x11,
  F_ACCESS: 0x12,
  F_PERMISSION: 0x13,
  F_TLB_CONFLICT: 0x20,
  F_CFG_CONFLICT: 0x21,
  E_PAGE_REQUEST: 0x24,
  F_VMS_FETCH: 0x25,
} as const;

/** A name in {@link eventIds}. */
export type EventName = keyof typeof eventIds;

const COMMON = {
  Id: bits(0, 8),
  SSV: bits(11),
  SSID: bits(12, 20),
  SID: bits(32, 32),
  STAG: bits(64, 16),
  STALL: bits(95),
  PnU: bits(97),
  InD: bits(98),
  RnW: bits(99),
  NSIPA: bits(100),
  S2: bits(103),
  CLASS: bits(104, 2),
  TTRnW: bits(108),
  InputAddr: wideAddress(191, 128, 0),
} as const;

/**
 * An event record. Which fields a kind of event has is in 7.3.2 to 7.3.21; the others are 0. Events that concern a
 * fetch have {@link fetchEventRecord}'s last word.
 */
export const eventRecord = record("event", EVENT_SIZE, { ...COMMON, IPA: address(243, 204, 12) } as const);

/** F_STE_FETCH, F_CD_FETCH, F_VMS_FETCH and F_WALK_EABT: the last word says where the fetch went. */
export const fetchEventRecord = record("event", EVENT_SIZE, { ...COMMON, FetchAddr: address(243, 195, 3) } as const);

/** CLASS: what was being looked for when the fault came. */
export const eventClasses = { CD: 0, TT: 1, IN: 2 } as const;

/** Events with the layout of {@link fetchEventRecord}. */
export const fetchEvents: ReadonlySet<number> = new Set([
  eventIds.F_STE_FETCH,
  eventIds.F_CD_FETCH,
  eventIds.F_WALK_EABT,
  eventIds.F_VMS_FETCH,
]);

const NAMES: ReadonlyMap<number, EventName> = new Map(
  Object.entries(eventIds).map(([name, id]) => [id, name as EventName]),
);

/** The architecture's name of an event number; undefined where it has none. */
export function eventName(id: number): EventName | undefined {
  return NAMES.get(id);
}

/** An event record, read. */
export interface DecodedEvent {
  readonly id: number;
  /** Undefined for a number that the architecture does not define. */
  readonly name: EventName | undefined;
  readonly streamId: number;
  /** Undefined without one. */
  readonly substreamId: number | undefined;
  readonly stalled: boolean;
  readonly stallTag: number;
  readonly read: boolean;
  readonly privileged: boolean;
  readonly instruction: boolean;
  readonly stage: 1 | 2;
  /** As in {@link eventClasses}. */
  readonly class: number;
  /** In a fault on a translation table: that it was read. */
  readonly tableRead: boolean;
  readonly inputAddress: bigint;
  /** A multiple of 4096, 0 in events that have none. */
  readonly intermediateAddress: number;
  /** 0 in events that have none. */
  readonly fetchAddress: number;
  /** The record as it is in memory. */
  readonly words: readonly bigint[];
}

/** Reads an event record out of the queue's bytes. */
export function decodeEvent(bytes: Uint8Array): DecodedEvent {
  const words = bytesToWords(bytes.subarray(0, EVENT_SIZE));
  const fields = eventRecord.decode(words);
  const isFetch = fetchEvents.has(fields.Id);
  return {
    id: fields.Id,
    name: eventName(fields.Id),
    streamId: fields.SID,
    substreamId: fields.SSV === 1 ? fields.SSID : undefined,
    stalled: fields.STALL === 1,
    stallTag: fields.STAG,
    read: fields.RnW === 1,
    privileged: fields.PnU === 1,
    instruction: fields.InD === 1,
    stage: fields.S2 === 1 ? 2 : 1,
    class: fields.CLASS,
    tableRead: fields.TTRnW === 1,
    inputAddress: fields.InputAddr,
    intermediateAddress: isFetch ? 0 : fields.IPA,
    fetchAddress: isFetch ? fetchEventRecord.decode(words).FetchAddr : 0,
    words,
  };
}

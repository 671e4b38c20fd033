import { address, type BitFields, type BitValues, bits, type RecordLayout, record, wideAddress } from "./bit-fields.js";

/** Bytes of a command (Arm IHI 0070, 4.1). */
export const COMMAND_SIZE = 16;

const OP = { Opcode: bits(0, 8), SSec: bits(10) } as const;
const STREAM = { ...OP, SID: bits(32, 32) } as const;
const SUBSTREAM = { ...STREAM, SSV: bits(11), SSID: bits(12, 20) } as const;
/**
 * Of the TLBI commands with an address: what a range is made of (4.4.1.1). (NUM + 1) * 2^SCALE granules of TG, in tables
 * whose leaves have level TTL. TG 0: no range.
 */
export const rangeFields = {
  NUM: bits(12, 5),
  SCALE: bits(20, 5),
  Leaf: bits(64),
  TTL: bits(72, 2),
  TG: bits(74, 2),
} as const;
const VMID = { VMID: bits(32, 16) } as const;
const ASID = { ASID: bits(48, 16) } as const;
const VA = { Address: wideAddress(127, 76, 12) } as const;
const IPA = { Address: address(115, 76, 12) } as const;

function command<F extends BitFields>(name: string, opcode: number, fields: F): Command<F> {
  const layout = record(name, COMMAND_SIZE, fields);
  return { ...layout, opcode, encode: (values) => layout.encode({ ...values, Opcode: opcode }) };
}

/** A command's opcode and layout; {@link RecordLayout.encode} fills in the opcode. */
export interface Command<F extends BitFields = BitFields> extends RecordLayout<F> {
  readonly opcode: number;
}

/** The commands of the Non-secure command queue, without those of PRI and DPT (Arm IHI 0070, 4.1.3). */
export const commands = {
  PREFETCH_CONFIG: command("CMD_PREFETCH_CONFIG", 0x01, SUBSTREAM),
  PREFETCH_ADDR: command("CMD_PREFETCH_ADDR", 0x02, { ...SUBSTREAM, ...VA }),
  CFGI_STE: command("CMD_CFGI_STE", 0x03, { ...STREAM, Leaf: bits(64) }),
  /** 2^(Range+1) StreamIDs; {@link CFGI_ALL_RANGE} is CMD_CFGI_ALL. */
  CFGI_STE_RANGE: command("CMD_CFGI_STE_RANGE", 0x04, { ...STREAM, Range: bits(64, 5) }),
  CFGI_CD: command("CMD_CFGI_CD", 0x05, { ...SUBSTREAM, Leaf: bits(64) }),
  CFGI_CD_ALL: command("CMD_CFGI_CD_ALL", 0x06, STREAM),
  TLBI_NH_ALL: command("CMD_TLBI_NH_ALL", 0x10, { ...OP, ...VMID }),
  TLBI_NH_ASID: command("CMD_TLBI_NH_ASID", 0x11, { ...OP, ...VMID, ...ASID }),
  TLBI_NH_VA: command("CMD_TLBI_NH_VA", 0x12, { ...OP, ...rangeFields, ...VMID, ...ASID, ...VA }),
  TLBI_NH_VAA: command("CMD_TLBI_NH_VAA", 0x13, { ...OP, ...rangeFields, ...VMID, ...VA }),
  TLBI_EL2_ALL: command("CMD_TLBI_EL2_ALL", 0x20, OP),
  TLBI_EL2_ASID: command("CMD_TLBI_EL2_ASID", 0x21, { ...OP, ...ASID }),
  TLBI_EL2_VA: command("CMD_TLBI_EL2_VA", 0x22, { ...OP, ...rangeFields, ...ASID, ...VA }),
  TLBI_EL2_VAA: command("CMD_TLBI_EL2_VAA", 0x23, { ...OP, ...rangeFields, ...VA }),
  TLBI_S12_VMALL: command("CMD_TLBI_S12_VMALL", 0x28, { ...OP, ...VMID }),
  TLBI_S2_IPA: command("CMD_TLBI_S2_IPA", 0x2a, { ...OP, ...rangeFields, ...VMID, ...IPA }),
  TLBI_NSNH_ALL: command("CMD_TLBI_NSNH_ALL", 0x30, OP),
  ATC_INV: command("CMD_ATC_INV", 0x40, { ...SUBSTREAM, Global: bits(9), Size: bits(64, 6), ...VA }),
  RESUME: command("CMD_RESUME", 0x44, { ...STREAM, Ac: bits(12), Ab: bits(13), STAG: bits(64, 16) }),
  STALL_TERM: command("CMD_STALL_TERM", 0x45, STREAM),
  SYNC: command("CMD_SYNC", 0x46, {
    ...OP,
    CS: bits(12, 2),
    MSH: bits(22, 2),
    MSIAttr: bits(24, 4),
    MSIData: bits(32, 32),
    MSIAddress: address(115, 66, 2),
  }),
} as const;

/** A name in {@link commands}. */
export type CommandName = keyof typeof commands;

/** The values of a command's fields. */
export type CommandValues<N extends CommandName> = BitValues<(typeof commands)[N]["fields"]>;

/** CMD_CFGI_STE_RANGE.Range that means all StreamIDs. */
export const CFGI_ALL_RANGE = 31;
/** CMD_SYNC.CS: how completion is signalled. */
export const syncSignals = { NONE: 0, IRQ: 1, SEV: 2 } as const;
/** Bytes of a page by the TG of a TLBI command; TG 0 means that it names no range. */
export const granulesByTlbiTg: readonly (4096 | 16384 | 65536 | undefined)[] = [undefined, 4096, 16384, 65536];

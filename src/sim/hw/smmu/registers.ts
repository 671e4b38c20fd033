import { address, type BitFields, type BitValues, bits, type RecordLayout, record } from "./bit-fields.js";

/** A register of 32 bits. */
export interface Register32<F extends BitFields> {
  readonly name: string;
  /** From the start of the SMMU's registers. */
  readonly offset: number;
  readonly size: 4;
  readonly fields: F;
  /** The register's value, unsigned; fields that are not given are 0. */
  encode(values: Partial<BitValues<F>>): number;
  decode(value: number): BitValues<F>;
}

/** A register of 64 bits. */
export interface Register64<F extends BitFields> {
  readonly name: string;
  /** From the start of the SMMU's registers. */
  readonly offset: number;
  readonly size: 8;
  readonly fields: F;
  /** The register's value, unsigned; fields that are not given are 0. */
  encode(values: Partial<BitValues<F>>): bigint;
  decode(value: bigint): BitValues<F>;
}

/** Bytes of the two pages of 64 KiB that the Non-secure registers take (Arm IHI 0070, 6.1). */
export const REGISTER_FRAME_SIZE = 0x2_0000;
/** What the registers on page 1 are offset by. */
export const PAGE_1 = 0x1_0000;

function register32<F extends BitFields>(name: string, offset: number, fields: F): Register32<F> {
  const layout: RecordLayout<F> = record(name, 8, fields);
  return {
    name,
    offset,
    size: 4,
    fields,
    encode: (values) => Number(layout.encode(values)[0]),
    decode: (value) => layout.decode([BigInt(value >>> 0)]),
  };
}

function register64<F extends BitFields>(name: string, offset: number, fields: F): Register64<F> {
  const layout: RecordLayout<F> = record(name, 8, fields);
  return {
    name,
    offset,
    size: 8,
    fields,
    encode: (values) => layout.encode(values)[0] ?? 0n,
    decode: (value) => layout.decode([value]),
  };
}

const CR0_FIELDS = {
  SMMUEN: bits(0),
  PRIQEN: bits(1),
  EVENTQEN: bits(2),
  CMDQEN: bits(3),
  ATSCHK: bits(4),
  VMW: bits(6, 3),
} as const;
const IRQ_CTRL_FIELDS = { GERROR_IRQEN: bits(0), PRIQ_IRQEN: bits(1), EVENTQ_IRQEN: bits(2) } as const;
/** Both GERROR and GERRORN: an error is active where the two differ (6.3.19, 6.3.20). */
const GERROR_FIELDS = {
  CMDQ_ERR: bits(0),
  EVENTQ_ABT_ERR: bits(2),
  PRIQ_ABT_ERR: bits(3),
  MSI_CMDQ_ABT_ERR: bits(4),
  MSI_EVENTQ_ABT_ERR: bits(5),
  MSI_PRIQ_ABT_ERR: bits(6),
  MSI_GERROR_ABT_ERR: bits(7),
  SFM_ERR: bits(8),
} as const;
const IRQ_CFG0_FIELDS = { ADDR: address(51, 2, 2) } as const;
const IRQ_CFG1_FIELDS = { DATA: bits(0, 32) } as const;
const IRQ_CFG2_FIELDS = { MEMATTR: bits(0, 4), SH: bits(4, 2) } as const;
const QUEUE_BASE_FIELDS = { LOG2SIZE: bits(0, 5), ADDR: address(51, 5, 5), RA: bits(62) } as const;

/** The registers of the Non-secure programming interface (Arm IHI 0070, 6.3), those of PRI and ATOS left out. */
export const registers = {
  IDR0: register32("IDR0", 0x000, {
    S2P: bits(0),
    S1P: bits(1),
    TTF: bits(2, 2),
    COHACC: bits(4),
    BTM: bits(5),
    HTTU: bits(6, 2),
    DORMHINT: bits(8),
    HYP: bits(9),
    ATS: bits(10),
    NS1ATS: bits(11),
    ASID16: bits(12),
    MSI: bits(13),
    SEV: bits(14),
    ATOS: bits(15),
    PRI: bits(16),
    VMW: bits(17),
    VMID16: bits(18),
    CD2L: bits(19),
    VATOS: bits(20),
    TTENDIAN: bits(21, 2),
    ATSRECERR: bits(23),
    STALL_MODEL: bits(24, 2),
    TERM_MODEL: bits(26),
    ST_LEVEL: bits(27, 2),
  }),
  IDR1: register32("IDR1", 0x004, {
    SIDSIZE: bits(0, 6),
    SSIDSIZE: bits(6, 5),
    PRIQS: bits(11, 5),
    EVENTQS: bits(16, 5),
    CMDQS: bits(21, 5),
    ATTR_PERMS_OVR: bits(26),
    ATTR_TYPES_OVR: bits(27),
    REL: bits(28),
    QUEUES_PRESET: bits(29),
    TABLES_PRESET: bits(30),
    ECMDQ: bits(31),
  }),
  IDR2: register32("IDR2", 0x008, { BA_VATOS: bits(0, 10) }),
  IDR3: register32("IDR3", 0x00c, {
    HAD: bits(2),
    PBHA: bits(3),
    XNX: bits(4),
    PPS: bits(5),
    MPAM: bits(7),
    FWB: bits(8),
    STT: bits(9),
    RIL: bits(10),
    BBML: bits(11, 2),
  }),
  IDR4: register32("IDR4", 0x010, {}),
  IDR5: register32("IDR5", 0x014, {
    OAS: bits(0, 3),
    GRAN4K: bits(4),
    GRAN16K: bits(5),
    GRAN64K: bits(6),
    VAX: bits(10, 2),
    STALL_MAX: bits(16, 16),
  }),
  IIDR: register32("IIDR", 0x018, {
    Implementer: bits(0, 12),
    Revision: bits(12, 4),
    Variant: bits(16, 4),
    ProductID: bits(20, 12),
  }),
  AIDR: register32("AIDR", 0x01c, { ArchMinorRev: bits(0, 4), ArchMajorRev: bits(4, 4) }),
  CR0: register32("CR0", 0x020, CR0_FIELDS),
  CR0ACK: register32("CR0ACK", 0x024, CR0_FIELDS),
  CR1: register32("CR1", 0x028, {
    QUEUE_IC: bits(0, 2),
    QUEUE_OC: bits(2, 2),
    QUEUE_SH: bits(4, 2),
    TABLE_IC: bits(6, 2),
    TABLE_OC: bits(8, 2),
    TABLE_SH: bits(10, 2),
  }),
  CR2: register32("CR2", 0x02c, { E2H: bits(0), RECINVSID: bits(1), PTM: bits(2) }),
  STATUSR: register32("STATUSR", 0x040, { DORMANT: bits(0) }),
  GBPA: register32("GBPA", 0x044, {
    MemAttr: bits(0, 4),
    MTCFG: bits(4),
    ALLOCCFG: bits(8, 4),
    SHCFG: bits(12, 2),
    PRIVCFG: bits(16, 2),
    INSTCFG: bits(18, 2),
    ABORT: bits(20),
    UPDATE: bits(31),
  }),
  AGBPA: register32("AGBPA", 0x048, {}),
  IRQ_CTRL: register32("IRQ_CTRL", 0x050, IRQ_CTRL_FIELDS),
  IRQ_CTRLACK: register32("IRQ_CTRLACK", 0x054, IRQ_CTRL_FIELDS),
  GERROR: register32("GERROR", 0x060, GERROR_FIELDS),
  GERRORN: register32("GERRORN", 0x064, GERROR_FIELDS),
  GERROR_IRQ_CFG0: register64("GERROR_IRQ_CFG0", 0x068, IRQ_CFG0_FIELDS),
  GERROR_IRQ_CFG1: register32("GERROR_IRQ_CFG1", 0x070, IRQ_CFG1_FIELDS),
  GERROR_IRQ_CFG2: register32("GERROR_IRQ_CFG2", 0x074, IRQ_CFG2_FIELDS),
  STRTAB_BASE: register64("STRTAB_BASE", 0x080, { ADDR: address(51, 6, 6), RA: bits(62) }),
  STRTAB_BASE_CFG: register32("STRTAB_BASE_CFG", 0x088, { LOG2SIZE: bits(0, 6), SPLIT: bits(6, 5), FMT: bits(16, 2) }),
  CMDQ_BASE: register64("CMDQ_BASE", 0x090, QUEUE_BASE_FIELDS),
  /** Index and, in the bit above it, wrap flag. */
  CMDQ_PROD: register32("CMDQ_PROD", 0x098, { WR: bits(0, 20) }),
  CMDQ_CONS: register32("CMDQ_CONS", 0x09c, { RD: bits(0, 20), ERR: bits(24, 7) }),
  EVENTQ_BASE: register64("EVENTQ_BASE", 0x0a0, QUEUE_BASE_FIELDS),
  EVENTQ_PROD: register32("EVENTQ_PROD", PAGE_1 + 0x0a8, { WR: bits(0, 20), OVFLG: bits(31) }),
  EVENTQ_CONS: register32("EVENTQ_CONS", PAGE_1 + 0x0ac, { RD: bits(0, 20), OVACKFLG: bits(31) }),
  EVENTQ_IRQ_CFG0: register64("EVENTQ_IRQ_CFG0", 0x0b0, IRQ_CFG0_FIELDS),
  EVENTQ_IRQ_CFG1: register32("EVENTQ_IRQ_CFG1", 0x0b8, IRQ_CFG1_FIELDS),
  EVENTQ_IRQ_CFG2: register32("EVENTQ_IRQ_CFG2", 0x0bc, IRQ_CFG2_FIELDS),
} as const;

/** IDR0.TTF: VMSAv8-64 only. */
export const TTF_AARCH64 = 2;
/** IDR0.TTENDIAN: little-endian tables only. */
export const TTENDIAN_LITTLE = 2;
/** IDR0.STALL_MODEL: faults terminate, nothing stalls. */
export const STALL_MODEL_NONE = 1;
/** IDR0.HTTU: walks set access flags, and write down that a page was written to. */
export const HTTU_ACCESS_AND_DIRTY = 2;
/** IDR0.ST_LEVEL: two-level stream tables as well as linear ones. */
export const ST_LEVEL_TWO = 1;
/** STRTAB_BASE_CFG.FMT. */
export const streamTableFormats = { LINEAR: 0, TWO_LEVEL: 1 } as const;
/** Bits of an output address by IDR5.OAS, CD.IPS and STE.S2PS. */
export const addressSizes = [32, 36, 40, 42, 44, 48, 52] as const;
/** CMDQ_CONS.ERR (7.1). */
export const commandErrors = { CERROR_NONE: 0, CERROR_ILL: 1, CERROR_ABT: 2, CERROR_ATC_INV_SYNC: 3 } as const;

import { address, bits, record } from "./bit-fields.js";

/** Bytes of a translation granule. */
export type Granule = 4096 | 16384 | 65536;

/** Bytes of a descriptor. */
export const DESCRIPTOR_SIZE = 8;
/** The level that pages are at; table walks begin at a lower number. */
export const LAST_LEVEL = 3;

const LEAF = {
  Valid: bits(0),
  /** 1: a page at level 3. 0: a block above it. */
  Type: bits(1),
  SH: bits(8, 2),
  AF: bits(10),
  OutputAddress: address(47, 12, 12),
  DBM: bits(51),
  Contiguous: bits(52),
} as const;

/** A block or page of stage 1 (Arm DDI 0487, D8.3.1). Where granules are 64 KiB, bits 12 to 15 are the address's 48 to 51. */
export const stage1Leaf = record("stage 1 leaf", DESCRIPTOR_SIZE, {
  ...LEAF,
  AttrIndx: bits(2, 3),
  NS: bits(5),
  /** AP[1]: unprivileged accesses are allowed. */
  APUnprivileged: bits(6),
  /** AP[2]: writes are not allowed. There is no bit against reads. */
  APReadOnly: bits(7),
  nG: bits(11),
  PXN: bits(53),
  XN: bits(54),
} as const);

/** A block or page of stage 2 (Arm DDI 0487, D8.3.1). */
export const stage2Leaf = record("stage 2 leaf", DESCRIPTOR_SIZE, {
  ...LEAF,
  MemAttr: bits(2, 4),
  /** S2AP[0]. */
  S2APRead: bits(6),
  /** S2AP[1]. */
  S2APWrite: bits(7),
  XN: bits(53, 2),
} as const);

/** A descriptor that points to the next level's table. The attributes hold for everything below it, in stage 1 only. */
export const tableDescriptor = record("table descriptor", DESCRIPTOR_SIZE, {
  Valid: bits(0),
  /** 1, which tells it from a block. */
  Type: bits(1),
  NextTable: address(47, 12, 12),
  PXNTable: bits(59),
  XNTable: bits(60),
  /** APTable[0]: no unprivileged access. */
  APTableNoUnprivileged: bits(61),
  /** APTable[1]: no writes. */
  APTableReadOnly: bits(62),
  NSTable: bits(63),
} as const);

/** How tables of one granule are shaped. */
export interface TableShape {
  readonly granule: Granule;
  /** log2 of the bytes of a page, and of a table. */
  readonly pageBits: number;
  /** Address bits that one level resolves. */
  readonly indexBits: number;
  /** For each level, log2 of the bytes that one descriptor covers. */
  readonly levelBits: readonly number[];
  /** For each level, whether it may hold blocks or pages; 64 KiB: level 1 only with 52-bit output addresses. */
  readonly leaves: readonly boolean[];
  /** For each level, log2 of how many adjacent descriptors make a contiguous range; 0: none do. */
  readonly contiguousBits: readonly number[];
}

function shape(granule: Granule, leaves: readonly boolean[], contiguousBits: readonly number[]): TableShape {
  const pageBits = Math.log2(granule);
  const indexBits = pageBits - 3;
  const levelBits = [3, 2, 1, 0].map((below) => pageBits + below * indexBits);
  return { granule, pageBits, indexBits, levelBits, leaves, contiguousBits };
}

const SHAPES: Readonly<Record<Granule, TableShape>> = {
  4096: shape(4096, [false, true, true, true], [0, 4, 4, 4]),
  16384: shape(16384, [false, false, true, true], [0, 0, 5, 7]),
  65536: shape(65536, [false, true, true, true], [0, 0, 5, 5]),
};

/** The shape of tables with pages of `granule` bytes (Arm DDI 0487, D8.2). */
export function tableShape(granule: Granule): TableShape {
  return SHAPES[granule];
}

/** The level at which a stage 1 walk of addresses of `inputBits` begins. */
export function firstLevel(granule: Granule, inputBits: number): number {
  const { pageBits, indexBits } = SHAPES[granule];
  return LAST_LEVEL + 1 - Math.ceil((inputBits - pageBits) / indexBits);
}

/** The level at which a stage 2 walk begins, by granule and STE.S2SL0; undefined is reserved (Arm IHI 0070, 5.2). */
const STAGE_2_LEVELS: Readonly<Record<Granule, readonly (number | undefined)[]>> = {
  4096: [2, 1, 0, undefined],
  16384: [3, 2, 1, undefined],
  65536: [3, 2, 1, undefined],
};

/** What STE.S2SL0 says for this granule; undefined where the value is reserved. */
export function stage2FirstLevel(granule: Granule, sl0: number): number | undefined {
  return STAGE_2_LEVELS[granule][sl0];
}

/** How many tables side by side a stage 2 walk may begin with. */
export const MAX_CONCATENATED_TABLES = 16;

const TWO_32 = 2 ** 32;
const TWO_48 = 2 ** 48;

/**
 * The address in a descriptor of a page, a block or the next table.
 * @param low the descriptor's lower 32 bits
 * @param high its upper 32 bits
 * @param wide 64 KiB granule with 52-bit addresses: bits 48 to 51 come in the room that the granule leaves
 */
export function descriptorAddress(low: number, high: number, pageBits: number, wide = false): number {
  const inPlace = (high & 0xffff) * TWO_32 + ((low & (-1 << pageBits)) >>> 0);
  return wide ? inPlace + ((low >>> 12) & 0xf) * TWO_48 : inPlace;
}

/** The lower 32 bits of a descriptor with this address, attributes left out. */
export function descriptorAddressLow(address: number): number {
  return ((address % TWO_32) | (Math.floor(address / TWO_48) << 12)) >>> 0;
}

/** The upper 32 bits of a descriptor with this address, attributes left out. */
export function descriptorAddressHigh(address: number): number {
  return Math.floor(address / TWO_32) & 0xffff;
}

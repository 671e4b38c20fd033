import { address, bits, record } from "./bit-fields.js";

/** A Context Descriptor, 64 bytes (Arm IHI 0070, 5.4). */
export const contextDescriptor = record("CD", 64, {
  T0SZ: bits(0, 6),
  TG0: bits(6, 2),
  IR0: bits(8, 2),
  OR0: bits(10, 2),
  SH0: bits(12, 2),
  EPD0: bits(14),
  ENDI: bits(15),
  T1SZ: bits(16, 6),
  TG1: bits(22, 2),
  IR1: bits(24, 2),
  OR1: bits(26, 2),
  SH1: bits(28, 2),
  EPD1: bits(30),
  V: bits(31),
  IPS: bits(32, 3),
  AFFD: bits(35),
  WXN: bits(36),
  UWXN: bits(37),
  TBI0: bits(38),
  TBI1: bits(39),
  PAN: bits(40),
  AA64: bits(41),
  HD: bits(42),
  HA: bits(43),
  S: bits(44),
  R: bits(45),
  A: bits(46),
  ASET: bits(47),
  ASID: bits(48, 16),
  NSCFG0: bits(64),
  HAD0: bits(65),
  TTB0: address(115, 68, 4),
  NSCFG1: bits(128),
  HAD1: bits(129),
  TTB1: address(179, 132, 4),
  MAIR0: bits(192, 32),
  MAIR1: bits(224, 32),
  AMAIR0: bits(256, 32),
  AMAIR1: bits(288, 32),
} as const);

/** An entry of the first level of a two-level CD table, 8 bytes (5.3). */
export const contextTableLink = record("L1CD", 8, { V: bits(0), L2Ptr: address(51, 12, 12) } as const);

/** STE.S1Fmt: how CDs are found by SubstreamID. */
export const contextTableFormats = { LINEAR: 0, LEAVES_OF_4K: 1, LEAVES_OF_64K: 2 } as const;
/** Bytes of a page by CD.TG0 and STE.S2TG; undefined is reserved. CD.TG1 counts differently. */
export const granulesByTg0: readonly (4096 | 65536 | 16384 | undefined)[] = [4096, 65536, 16384, undefined];
/** CD.IR0 and OR0, STE.S1CIR and S1COR: write-back, read- and write-allocate. */
export const CACHEABILITY_WBRA = 1;
/** CD.SH0, STE.S1CSH. */
export const shareabilities = { NONE: 0, OUTER: 2, INNER: 3 } as const;

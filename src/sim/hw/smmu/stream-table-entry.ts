import { address, bits, record } from "./bit-fields.js";

/** A Stream Table Entry, 64 bytes (Arm IHI 0070, 5.2). */
export const streamTableEntry = record("STE", 64, {
  V: bits(0),
  Config: bits(1, 3),
  S1Fmt: bits(4, 2),
  S1ContextPtr: address(51, 6, 6),
  S1CDMax: bits(59, 5),
  S1DSS: bits(64, 2),
  S1CIR: bits(66, 2),
  S1COR: bits(68, 2),
  S1CSH: bits(70, 2),
  DRE: bits(76),
  CONT: bits(77, 4),
  DCP: bits(81),
  PPAR: bits(82),
  MEV: bits(83),
  S2FWB: bits(89),
  S1MPAM: bits(90),
  S1STALLD: bits(91),
  EATS: bits(92, 2),
  STRW: bits(94, 2),
  MemAttr: bits(96, 4),
  MTCFG: bits(100),
  ALLOCCFG: bits(101, 4),
  SHCFG: bits(108, 2),
  NSCFG: bits(110, 2),
  PRIVCFG: bits(112, 2),
  INSTCFG: bits(114, 2),
  S2VMID: bits(128, 16),
  S2T0SZ: bits(160, 6),
  S2SL0: bits(166, 2),
  S2IR0: bits(168, 2),
  S2OR0: bits(170, 2),
  S2SH0: bits(172, 2),
  S2TG: bits(174, 2),
  S2PS: bits(176, 3),
  S2AA64: bits(179),
  S2ENDI: bits(180),
  S2AFFD: bits(181),
  S2PTW: bits(182),
  S2HD: bits(183),
  S2HA: bits(184),
  S2S: bits(185),
  S2R: bits(186),
  S2TTB: address(243, 196, 4),
} as const);

/** An entry of the first level of a two-level stream table, 8 bytes (5.1). Span 0: nothing below; else 2^(Span-1) STEs. */
export const streamTableLink = record("L1STD", 8, { Span: bits(0, 5), L2Ptr: address(51, 6, 6) } as const);

/** STE.Config. Bit 2 says that traffic passes at all; bits 0 and 1, which stages translate it. */
export const streamConfigs = { ABORT: 0, BYPASS: 4, STAGE_1: 5, STAGE_2: 6, NESTED: 7 } as const;
/** STE.S1DSS: what becomes of traffic without a SubstreamID where S1CDMax is not 0. */
export const defaultSubstreams = { TERMINATE: 0, BYPASS: 1, SSID0: 2 } as const;
/** STE.STRW: the translation regime, and with it which TLBI commands reach its entries. With CR2.E2H, EL2 has ASIDs. */
export const streamWorlds = { NSEL1: 0, EL2: 2 } as const;
/** STE.SHCFG: take the transaction's own shareability. */
export const SHCFG_INCOMING = 1;

/** Translation regimes, whose TLB entries are kept apart and invalidated by different commands (Arm IHI 0070, 3.3.3). */
export const regimes = {
  /** NS-EL1: stage 1 alone, or both stages in one. */
  EL1: 0,
  /** NS-EL2, without ASIDs and VMIDs. */
  EL2: 1,
  /** NS-EL2-E2H: with ASIDs. */
  EL2_HOST: 2,
  /** Stage 2 of NS-EL1: from intermediate addresses. */
  STAGE_2: 3,
} as const;

/** Bits of a tag that hold the regime. */
export const REGIME_MASK = 3;
/** The bit of a tag that is set for translations through TTB1. */
export const UPPER_HALF = 4;
/** Regime and VMID. */
export const REGIME_AND_VMID_MASK = ~UPPER_HALF;

/**
 * What a TLB tags entries with, the ASID apart.
 * @param half 1 for translations through TTB1
 */
export function tagOf(regime: number, vmid: number, half: number): number {
  return regime | (half === 0 ? 0 : UPPER_HALF) | (vmid << 3);
}

/** Addresses are 64 bits: those above this are 2^52 times the topmost 12 bits. */
export const LOW_ADDRESS_LIMIT = 2 ** 52;

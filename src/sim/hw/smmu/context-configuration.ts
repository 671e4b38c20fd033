import type { BitValues } from "./bit-fields.js";
import { contextDescriptor, granulesByTg0 } from "./context-descriptor.js";
import type { SmmuFeatures } from "./features.js";
import type { Granule } from "./page-descriptor.js";
import { regimes, tagOf } from "./regimes.js";
import type { ContextSource } from "./stream-configuration.js";
import { NO_ASID } from "./tlb.js";
import { stage1Table, type TranslationTable } from "./translation-table.js";

type ContextDescriptor = BitValues<typeof contextDescriptor.fields>;

/** One half of the virtual addresses: what TTB0 or TTB1 translates. */
export interface AddressHalf {
  /** Undefined: EPDx, nothing is translated. */
  readonly table: TranslationTable | undefined;
  /** Of its TLB entries. */
  readonly tag: number;
  /** TBIx. */
  readonly ignoresTopByte: boolean;
}

/** Stage 1 of a stream: what a CD says. */
export interface Stage1Configuration {
  readonly asid: number;
  /** Whether there are ASIDs, and translations that all of them share. */
  readonly hasAsid: boolean;
  readonly lower: AddressHalf;
  /** Undefined in the regime that has no TTB1. */
  readonly upper: AddressHalf | undefined;
  /** R. */
  readonly recordsFaults: boolean;
}

/** CD.TG1 counts differently from TG0. */
const granulesByTg1: readonly (Granule | undefined)[] = [undefined, 16384, 4096, 65536];

/** What a CD means; undefined when it is invalid or ILLEGAL (Arm IHI 0070, 5.4 and its 5.4.2, "Validity of CD"). */
export function contextConfiguration(
  words: ArrayLike<bigint>,
  source: ContextSource,
  features: SmmuFeatures,
): Stage1Configuration | undefined {
  const cd = contextDescriptor.decode(words);
  const hasAsid = source.regime !== regimes.EL2;
  const isEndianWrong = cd.ENDI === 1 && !(hasAsid && cd.EPD0 === 1 && cd.EPD1 === 1);
  if (cd.V === 0 || !isSupported(cd, features) || isEndianWrong) return undefined;
  if (hasAsid && cd.ASID >= 2 ** features.asidBits) return undefined;
  const lower = lowerHalf(cd, source, features);
  const upper = hasAsid ? upperHalf(cd, source, features) : undefined;
  if (lower === undefined || (hasAsid && upper === undefined)) return undefined;
  return { asid: hasAsid ? cd.ASID : NO_ASID, hasAsid, lower, upper, recordsFaults: cd.R === 1 };
}

/** VMSAv8-64; faults abort the access (IDR0.TERM_MODEL) and do not stall it (STALL_MODEL); updates only where there are any. */
function isSupported({ AA64, HA, HD, S, A }: ContextDescriptor, { updatesTables }: SmmuFeatures): boolean {
  return AA64 === 1 && (updatesTables || (HA === 0 && HD === 0)) && S === 0 && A === 1;
}

function lowerHalf(cd: ContextDescriptor, source: ContextSource, features: SmmuFeatures): AddressHalf | undefined {
  const tag = tagOf(source.regime, source.vmid, 0);
  const ignoresTopByte = cd.TBI0 === 1;
  // EL2 has one table only, which cannot be disabled.
  if (cd.EPD0 === 1 && source.regime !== regimes.EL2) return { table: undefined, tag, ignoresTopByte };
  const settings = { sizeField: cd.T0SZ, base: cd.TTB0, hierarchical: cd.HAD0 === 0 };
  const table = tableOf(cd, granulesByTg0[cd.TG0], settings, source, features);
  return table === undefined ? undefined : { table, tag, ignoresTopByte };
}

function upperHalf(cd: ContextDescriptor, source: ContextSource, features: SmmuFeatures): AddressHalf | undefined {
  const tag = tagOf(source.regime, source.vmid, 1);
  const ignoresTopByte = cd.TBI1 === 1;
  if (cd.EPD1 === 1) return { table: undefined, tag, ignoresTopByte };
  const settings = { sizeField: cd.T1SZ, base: cd.TTB1, hierarchical: cd.HAD1 === 0 };
  const table = tableOf(cd, granulesByTg1[cd.TG1], settings, source, features);
  return table === undefined ? undefined : { table, tag, ignoresTopByte };
}

function tableOf(
  { IPS, AFFD, HA, HD }: ContextDescriptor,
  granule: Granule | undefined,
  settings: { readonly sizeField: number; readonly base: number; readonly hierarchical: boolean },
  { regime }: ContextSource,
  features: SmmuFeatures,
): TranslationTable | undefined {
  if (granule === undefined) return undefined;
  const checksUnprivileged = regime !== regimes.EL2;
  const updates = { checksAccessFlag: AFFD === 0, setsAccessFlag: HA === 1, marksWrites: HD === 1 };
  return stage1Table({ ...settings, ...updates, granule, outputField: IPS, checksUnprivileged }, features);
}

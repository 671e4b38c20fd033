import type { BitValues } from "./bit-fields.js";
import { contextTableFormats, granulesByTg0 } from "./context-descriptor.js";
import { eventIds } from "./events.js";
import type { SmmuFeatures } from "./features.js";
import { regimes, tagOf } from "./regimes.js";
import { defaultSubstreams, streamConfigs, streamTableEntry, streamWorlds } from "./stream-table-entry.js";
import { stage2Table, type TranslationTable } from "./translation-table.js";

type StreamTableEntry = BitValues<typeof streamTableEntry.fields>;

/** Where a stream's CDs are and what the STE says of them. */
export interface ContextSource {
  /** S1ContextPtr: an intermediate address if there is stage 2. */
  readonly address: number;
  /** A first level of pointers to CDs is in between. */
  readonly isTwoLevel: boolean;
  /** The translation regime that the CDs' tables belong to, as in `regimes`. */
  readonly regime: number;
  /** Tags TLB entries of stage 1. */
  readonly vmid: number;
}

/** Stage 2 of a stream. */
export interface Stage2Configuration {
  readonly table: TranslationTable;
  /** Of its TLB entries. */
  readonly tag: number;
  /** S2R. */
  readonly recordsFaults: boolean;
  /** S2PTW. */
  readonly protectsWalks: boolean;
}

/** What an STE makes of a stream's accesses. */
export type StreamConfiguration =
  | { readonly action: "abort" | "bypass" }
  /** Aborted with an event of this number. */
  | { readonly action: "refuse"; readonly event: number }
  | {
      readonly action: "translate";
      readonly context: ContextSource | undefined;
      readonly stage2: Stage2Configuration | undefined;
    };

/** The state of an SMMU that the meaning of an STE depends on. */
export interface StreamRules {
  readonly features: SmmuFeatures;
  /** CR2.E2H. */
  readonly hypervisorHost: boolean;
}

const BAD_STE: StreamConfiguration = { action: "refuse", event: eventIds.C_BAD_STE };
const DISABLED: StreamConfiguration = { action: "refuse", event: eventIds.F_STREAM_DISABLED };
const HAS_STAGE_1 = 1;
const HAS_STAGE_2 = 2;

/** What an STE means for accesses without a SubstreamID (Arm IHI 0070, 5.2 and its 5.2.2, "Validity of STE"). */
export function streamConfiguration(words: ArrayLike<bigint>, rules: StreamRules): StreamConfiguration {
  const ste = streamTableEntry.decode(words);
  if (ste.V === 0) return BAD_STE;
  if (ste.Config < streamConfigs.BYPASS) return { action: "abort" };
  if (ste.Config === streamConfigs.BYPASS) return { action: "bypass" };
  const stage1 = (ste.Config & HAS_STAGE_1) !== 0;
  const stage2 = (ste.Config & HAS_STAGE_2) !== 0 ? stage2Of(ste, rules.features) : undefined;
  if ((ste.Config & HAS_STAGE_2) !== 0 && stage2 === undefined) return BAD_STE;
  if (!stage1) return { action: "translate", context: undefined, stage2 };
  return stage1Of(ste, stage2, rules);
}

function stage1Of(
  ste: StreamTableEntry,
  stage2: Stage2Configuration | undefined,
  rules: StreamRules,
): StreamConfiguration {
  const { stage1, substreamIdBits } = rules.features;
  const regime = stage2 === undefined ? regimeOf(ste, rules) : regimes.EL1;
  const vmid = regime === regimes.EL1 ? vmidOf(ste, rules.features) : 0;
  // There is no stall model: stalling can neither be asked for nor, what comes to the same, be forbidden (5.5).
  if (!stage1 || ste.S1STALLD === 1 || regime === undefined || vmid === undefined) return BAD_STE;
  const context = { address: ste.S1ContextPtr, isTwoLevel: false, regime, vmid };
  const translate: StreamConfiguration = { action: "translate", context, stage2 };
  if (substreamIdBits === 0 || ste.S1CDMax === 0) return translate;
  if (ste.S1CDMax > substreamIdBits) return BAD_STE;
  if (ste.S1DSS === defaultSubstreams.SSID0) {
    const isTwoLevel =
      ste.S1Fmt === contextTableFormats.LEAVES_OF_4K || ste.S1Fmt === contextTableFormats.LEAVES_OF_64K;
    return { ...translate, context: { ...context, isTwoLevel } };
  }
  if (ste.S1DSS !== defaultSubstreams.BYPASS) return DISABLED;
  return stage2 === undefined ? { action: "bypass" } : { ...translate, context: undefined };
}

/** STRW with CR2.E2H; undefined where it is reserved. */
function regimeOf({ STRW }: StreamTableEntry, { features, hypervisorHost }: StreamRules): number | undefined {
  if (!features.hypervisor || STRW === streamWorlds.NSEL1) return regimes.EL1;
  if (STRW !== streamWorlds.EL2) return undefined;
  return hypervisorHost ? regimes.EL2_HOST : regimes.EL2;
}

/** S2VMID, which tags stage 1 translations too where stage 2 is implemented; undefined where it is too large. */
function vmidOf({ S2VMID }: StreamTableEntry, { stage2, vmidBits }: SmmuFeatures): number | undefined {
  if (!stage2) return 0;
  return S2VMID < 2 ** vmidBits ? S2VMID : undefined;
}

function stage2Of(ste: StreamTableEntry, features: SmmuFeatures): Stage2Configuration | undefined {
  const vmid = vmidOf(ste, features);
  const granule = granulesByTg0[ste.S2TG];
  if (!features.stage2 || vmid === undefined || granule === undefined || !isSupported(ste, features)) return undefined;
  const settings = {
    granule,
    sizeField: ste.S2T0SZ,
    sl0: ste.S2SL0,
    base: ste.S2TTB,
    outputField: ste.S2PS,
    checksAccessFlag: ste.S2AFFD === 0,
    setsAccessFlag: ste.S2HA === 1,
    marksWrites: ste.S2HD === 1,
  };
  const table = stage2Table(settings, features);
  if (table === undefined) return undefined;
  const tag = tagOf(regimes.STAGE_2, vmid, 0);
  return { table, tag, recordsFaults: ste.S2R === 1, protectsWalks: ste.S2PTW === 1 };
}

/** VMSAv8-64 in little-endian order, without stalling; updates only where there are any. */
function isSupported({ S2AA64, S2ENDI, S2HA, S2HD, S2S }: StreamTableEntry, { updatesTables }: SmmuFeatures): boolean {
  return S2AA64 === 1 && S2ENDI === 0 && (updatesTables || (S2HA === 0 && S2HD === 0)) && S2S === 0;
}

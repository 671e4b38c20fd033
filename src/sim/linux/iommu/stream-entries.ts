import type { BitFields, NumberField, RecordLayout } from "../../hw/smmu/bit-fields.js";
import {
  CACHEABILITY_WBRA,
  contextDescriptor,
  contextTableFormats,
  granulesByTg0,
  shareabilities,
} from "../../hw/smmu/context-descriptor.js";
import { addressSizes } from "../../hw/smmu/registers.js";
import { defaultSubstreams, streamConfigs, streamTableEntry, streamWorlds } from "../../hw/smmu/stream-table-entry.js";
import type { EntryKind } from "./entry-writer.js";
import { MAIR } from "./leaf-attributes.js";
import type { SmmuDomain } from "./smmu-domain.js";
import type { TableGeometry } from "./table-geometry.js";

/** All DMA is aborted, and nothing recorded (arm_smmu_make_abort_ste). */
export const ABORT_ENTRY: readonly bigint[] = streamTableEntry.encode({ V: 1, Config: streamConfigs.ABORT });

/** DMA goes through stage 1, as the context descriptor at this address says (arm_smmu_make_cdtable_ste). */
export function stage1Entry(contextAddress: number): bigint[] {
  return streamTableEntry.encode({
    V: 1,
    Config: streamConfigs.STAGE_1,
    S1Fmt: contextTableFormats.LINEAR,
    S1ContextPtr: contextAddress,
    S1DSS: defaultSubstreams.SSID0,
    S1CIR: CACHEABILITY_WBRA,
    S1COR: CACHEABILITY_WBRA,
    S1CSH: shareabilities.INNER,
    STRW: streamWorlds.NSEL1,
  });
}

/** DMA goes through a domain's stage 2 (arm_smmu_make_s2_domain_ste). */
export function stage2Entry({ geometry, tag, tableAddress }: SmmuDomain): bigint[] {
  return streamTableEntry.encode({
    V: 1,
    Config: streamConfigs.STAGE_2,
    S2VMID: tag.id,
    S2T0SZ: 64 - geometry.inputBits,
    S2SL0: startingLevel(geometry),
    S2IR0: CACHEABILITY_WBRA,
    S2OR0: CACHEABILITY_WBRA,
    S2SH0: shareabilities.INNER,
    S2TG: granuleCode(geometry),
    S2PS: addressSizeCode(geometry),
    S2AA64: 1,
    S2PTW: 1,
    S2R: 1,
    S2TTB: tableAddress,
  });
}

/** A domain's stage 1: faults are recorded and end the access (arm_smmu_make_s1_cd). */
export function contextEntry({ geometry, tag, tableAddress, dirtyTracking }: SmmuDomain): bigint[] {
  return contextDescriptor.encode({
    HA: dirtyTracking ? 1 : 0,
    HD: dirtyTracking ? 1 : 0,
    T0SZ: 64 - geometry.inputBits,
    TG0: granuleCode(geometry),
    IR0: CACHEABILITY_WBRA,
    OR0: CACHEABILITY_WBRA,
    SH0: shareabilities.INNER,
    EPD1: 1,
    V: 1,
    IPS: addressSizeCode(geometry),
    AA64: 1,
    R: 1,
    A: 1,
    ASET: 1,
    ASID: tag.id,
    TTB0: tableAddress,
    MAIR0: MAIR,
  });
}

/** STE.S2SL0 counts the other way, and from another level where granules are 4 KiB (io-pgtable-arm.c, arm_64_lpae_alloc_pgtable_s2). */
function startingLevel({ granule, firstLevel }: TableGeometry): number {
  return granule === 4096 ? 2 - firstLevel : 3 - firstLevel;
}

function granuleCode({ granule }: TableGeometry): number {
  return granulesByTg0.indexOf(granule);
}

function addressSizeCode({ outputBits }: TableGeometry): number {
  return addressSizes.findIndex((bits) => bits >= outputBits);
}

type StreamField = keyof typeof streamTableEntry.fields;

const STAGE_1: readonly StreamField[] = [
  ...(["S1Fmt", "S1ContextPtr", "S1CDMax", "S1DSS", "S1CIR", "S1COR", "S1CSH"] as const),
  ...(["S1STALLD", "STRW", "EATS", "MEV", "S2VMID"] as const),
];
const STAGE_2: readonly StreamField[] = [
  ...([
    "S2FWB",
    "EATS",
    "SHCFG",
    "MEV",
    "S2VMID",
    "S2T0SZ",
    "S2SL0",
    "S2IR0",
    "S2OR0",
    "S2SH0",
    "S2TG",
    "S2PS",
  ] as const),
  ...(["S2AA64", "S2ENDI", "S2PTW", "S2S", "S2R", "S2TTB"] as const),
];
/** Bits of STE.Config. */
const HAS_STAGE_1 = 1;
const HAS_STAGE_2 = 2;

const INVALID_STREAM = masks(streamTableEntry, ["V"]);
/** By STE.Config. */
const VALID_STREAMS = Array.from({ length: 8 }, (_, config) => {
  const stage1 = (config & HAS_STAGE_1) === 0 ? [] : STAGE_1;
  const stage2 = (config & HAS_STAGE_2) === 0 ? [] : STAGE_2;
  return masks(streamTableEntry, ["V", "Config", ...stage1, ...stage2]);
});

/** arm_smmu_get_ste_used. */
export const streamEntryKind: EntryKind = {
  used(entry) {
    const { V, Config } = streamTableEntry.fields;
    const usedByValid = VALID_STREAMS[fieldOfFirst(entry, Config)];
    return fieldOfFirst(entry, V) === 0 || usedByValid === undefined ? INVALID_STREAM : usedByValid;
  },
};

const EVERY_BIT = 2n ** 64n - 1n;
const WHOLE_CONTEXT: readonly bigint[] = new Array<bigint>(8).fill(EVERY_BIT);
const INVALID_CONTEXT = masks(contextDescriptor, ["V"]);

/** arm_smmu_get_cd_used. */
export const contextEntryKind: EntryKind = {
  used: (entry) => (fieldOfFirst(entry, contextDescriptor.fields.V) === 0 ? INVALID_CONTEXT : WHOLE_CONTEXT),
};

/** A field of an entry's first word. */
function fieldOfFirst(entry: ArrayLike<bigint>, { low, width }: NumberField): number {
  return Number(BigInt.asUintN(width, (entry[0] ?? 0n) >> BigInt(low)));
}

function masks<F extends BitFields>({ fields, size }: RecordLayout<F>, names: readonly (keyof F)[]): bigint[] {
  const words = new Array<bigint>(size / 8).fill(0n);
  for (const name of names) {
    const { low, width } = fields[name] as F[keyof F];
    const index = low >>> 6;
    words[index] = (words[index] ?? 0n) | ((2n ** BigInt(width) - 1n) << BigInt(low & 63));
  }
  return words;
}

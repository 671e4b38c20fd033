import type { SmmuFeatures } from "./features.js";
import {
  firstLevel,
  type Granule,
  MAX_CONCATENATED_TABLES,
  stage2FirstLevel,
  type TableShape,
  tableShape,
} from "./page-descriptor.js";
import { addressSizes } from "./registers.js";

/** Where a table walk begins and by which rules it goes: a TTB with what the CD or STE says about it. */
export interface TranslationTable {
  readonly stage: 1 | 2;
  readonly shape: TableShape;
  /** Of the first table, or of several side by side. */
  readonly base: number;
  /** Bits of the addresses that it translates. */
  readonly inputBits: number;
  readonly firstLevel: number;
  /** The first address that is too large for it to give. */
  readonly outputLimit: number;
  /** Descriptors have address bits 48 to 51 at bits 12 to 15. */
  readonly wideOutput: boolean;
  /** A clear access flag is a fault. */
  readonly checksAccessFlag: boolean;
  /** Walks set an access flag that is clear, instead (CD.HA, STE.S2HA). */
  readonly setsAccessFlag: boolean;
  /** Walks for a write make a leaf with DBM writable that is not: that says that it was written to (CD.HD, STE.S2HD). */
  readonly marksWrites: boolean;
  /** AP[1] decides whether the access, which is unprivileged, is allowed. */
  readonly checksUnprivileged: boolean;
  /** Table descriptors can take permissions away. */
  readonly hierarchical: boolean;
}

/** What differs between tables; the rest follows. */
export interface TableSettings {
  readonly granule: Granule;
  /** T0SZ, T1SZ or S2T0SZ. */
  readonly sizeField: number;
  readonly base: number;
  /** IPS or S2PS. */
  readonly outputField: number;
  readonly checksAccessFlag: boolean;
  /** HA or S2HA. */
  readonly setsAccessFlag: boolean;
  /** HD or S2HD, which count with the other only. */
  readonly marksWrites: boolean;
}

type StageRules = Pick<TranslationTable, "stage" | "firstLevel" | "hierarchical" | "checksUnprivileged">;

/** IDR3.STT is 0. */
const MAX_TSZ = 39;
/** Without CD.DS and STE.S2DS, the 4 KiB and 16 KiB granules give addresses of this many bits. */
const NARROW_BITS = 48;

/** What IPS or S2PS says, capped to what there is; 7 is reserved, and above every cap. */
export function effectiveOutputBits(field: number, { outputBits }: SmmuFeatures): number {
  return Math.min(addressSizes[field] ?? Number.POSITIVE_INFINITY, outputBits);
}

/** A stage 1 table; undefined where the settings make the CD ILLEGAL (Arm IHI 0070, 5.4). */
export function stage1Table(
  settings: TableSettings & Pick<TranslationTable, "hierarchical" | "checksUnprivileged">,
  features: SmmuFeatures,
): TranslationTable | undefined {
  const { granule, sizeField, hierarchical, checksUnprivileged } = settings;
  const least = features.largeInput && granule === 65536 ? 12 : 16;
  if (!features.granules.includes(granule) || sizeField < least || sizeField > MAX_TSZ) return undefined;
  const first = firstLevel(granule, 64 - sizeField);
  return table({ stage: 1, firstLevel: first, hierarchical, checksUnprivileged }, settings, features);
}

/** A stage 2 table; undefined where the settings make the STE ILLEGAL (Arm IHI 0070, 5.2). */
export function stage2Table(
  settings: TableSettings & { readonly sl0: number },
  features: SmmuFeatures,
): TranslationTable | undefined {
  const { granule, sizeField, sl0 } = settings;
  const inputBits = 64 - sizeField;
  const first = stage2FirstLevel(granule, sl0);
  const most = granule === 65536 ? features.outputBits : Math.min(features.outputBits, NARROW_BITS);
  if (!features.granules.includes(granule) || sizeField > MAX_TSZ || inputBits > most) return undefined;
  if (first === undefined || !isConsistent(granule, inputBits, first, features)) return undefined;
  return table({ stage: 2, firstLevel: first, hierarchical: false, checksUnprivileged: false }, settings, features);
}

/** Undefined where the base is not an address that the table itself may give. */
function table(
  { stage, firstLevel, hierarchical, checksUnprivileged }: StageRules,
  { granule, sizeField, base, outputField, ...updates }: TableSettings,
  features: SmmuFeatures,
): TranslationTable | undefined {
  const inputBits = 64 - sizeField;
  const bits = effectiveOutputBits(outputField, features);
  const wideOutput = granule === 65536 && bits > NARROW_BITS;
  const outputLimit = 2 ** (wideOutput ? bits : Math.min(bits, NARROW_BITS));
  if (base >= outputLimit) return undefined;
  const shape = tableShape(granule);
  return {
    stage,
    shape,
    base: aligned(base, shape, inputBits, firstLevel),
    inputBits,
    firstLevel,
    outputLimit,
    wideOutput,
    checksAccessFlag: updates.checksAccessFlag,
    setsAccessFlag: updates.setsAccessFlag,
    marksWrites: updates.setsAccessFlag && updates.marksWrites,
    checksUnprivileged,
    hierarchical,
  };
}

/** Whether stage 2 walks of this many bits may begin at this level (Arm DDI 0487, AArch64.S2InconsistentSL). */
function isConsistent(granule: Granule, inputBits: number, first: number, { outputBits }: SmmuFeatures): boolean {
  const { levelBits, indexBits, pageBits } = tableShape(granule);
  const bits = inputBits - (levelBits[first] ?? pageBits);
  if (bits < 1 || bits > indexBits + Math.log2(MAX_CONCATENATED_TABLES)) return false;
  // The earliest level of each granule is there for physical addresses that need it.
  if (granule === 4096) return first > 0 || outputBits >= 44;
  return first > 1 || outputBits >= (granule === 16384 ? 42 : 44);
}

/** The SMMU takes the bits of a table's address as zero that its size makes so. */
function aligned(base: number, { levelBits, pageBits }: TableShape, inputBits: number, first: number): number {
  const size = 8 * 2 ** (inputBits - (levelBits[first] ?? pageBits));
  const alignment = Math.max(size, 64);
  return base - (base % alignment);
}

import { shareabilities } from "../../hw/smmu/context-descriptor.js";
import { stage1Leaf, stage2Leaf } from "../../hw/smmu/page-descriptor.js";
import type { DmaProtection } from "./iommu.js";

/** A page table entry but for its address, as its lower and upper 32 bits. */
export interface LeafAttributes {
  readonly low: number;
  readonly high: number;
}

/** What the attribute indexes mean: CD.MAIR0 (io-pgtable-arm.c, arm_64_lpae_alloc_pgtable_s1). */
const MEMORY_TYPES = { NON_CACHED: 0, CACHED: 1, DEVICE: 2, INNER_NON_CACHED: 3 } as const;
/** {@link MEMORY_TYPES} as the CD says it: byte for byte, from the lowest. */
export const MAIR = 0xf404ff44;
/** Stage 2's own words for memory: outer and inner write-back, and Device-nGnRE. */
const STAGE_2_TYPES = { CACHED: 0xf, DEVICE: 1 } as const;
/** XN as the kernel sets it in either stage (io-pgtable-arm.c, ARM_LPAE_PTE_XN); in stage 1 the two bits are PXN and XN. */
const STAGE_2_NEVER_EXECUTE = 3;
const LOW = 32n;

/** There are few: each is put together once. */
const known: (LeafAttributes | undefined)[] = [];

/** What a mapping's entries have besides the address (io-pgtable-arm.c, arm_lpae_prot_to_pte and __arm_lpae_init_pte). */
export function leafAttributes(
  stage: 1 | 2,
  protection: DmaProtection,
  isLastLevel: boolean,
  tracksWrites = false,
): LeafAttributes {
  const { read, write, device = false } = protection;
  const choices = [stage === 1, read, write, device, isLastLevel, tracksWrites];
  const key = choices.reduce((bits, bit) => 2 * bits + (bit ? 1 : 0), 0);
  const found = known[key] ?? putTogether(stage, protection, isLastLevel, tracksWrites);
  known[key] = found;
  return found;
}

function putTogether(
  stage: 1 | 2,
  protection: DmaProtection,
  isLastLevel: boolean,
  tracksWrites: boolean,
): LeafAttributes {
  const word = stage === 1 ? stage1(protection, isLastLevel, tracksWrites) : stage2(protection, isLastLevel);
  return { low: Number(BigInt.asIntN(32, word)), high: Number(BigInt.asIntN(32, word >> LOW)) };
}

/** Stage 1 has a bit against writes, and none against reads. What may be written to begins as written to (IO_PGTABLE_QUIRK_ARM_HD). */
function stage1({ write, device = false }: DmaProtection, isLastLevel: boolean, tracksWrites: boolean): bigint {
  return word(
    stage1Leaf.encode({
      ...common(isLastLevel, device),
      AttrIndx: device ? MEMORY_TYPES.DEVICE : MEMORY_TYPES.CACHED,
      APUnprivileged: 1,
      APReadOnly: write ? 0 : 1,
      nG: 1,
      DBM: tracksWrites && write ? 1 : 0,
      PXN: device ? 1 : 0,
      XN: device ? 1 : 0,
    }),
  );
}

function stage2({ read, write, device = false }: DmaProtection, isLastLevel: boolean): bigint {
  return word(
    stage2Leaf.encode({
      ...common(isLastLevel, device),
      MemAttr: device ? STAGE_2_TYPES.DEVICE : STAGE_2_TYPES.CACHED,
      S2APRead: read ? 1 : 0,
      S2APWrite: write ? 1 : 0,
      XN: device ? STAGE_2_NEVER_EXECUTE : 0,
    }),
  );
}

function common(isLastLevel: boolean, device: boolean) {
  const SH = device ? shareabilities.OUTER : shareabilities.INNER;
  return { Valid: 1, Type: isLastLevel ? 1 : 0, SH, AF: 1 };
}

function word(words: readonly bigint[]): bigint {
  return words[0] ?? 0n;
}

/** Bit 51 of an entry, as a bit of its upper half. */
const DIRTY_MODIFIER = 2 ** (stage1Leaf.fields.DBM.low - 32);
const STAGE_1_READ_ONLY = 2 ** stage1Leaf.fields.APReadOnly.low;
const STAGE_2_READ = 2 ** stage2Leaf.fields.S2APRead.low;
const STAGE_2_WRITE = 2 ** stage2Leaf.fields.S2APWrite.low;

/** What an entry lets a device do, given its halves: one that is clean may be written to, which makes it dirty. */
export function protectionOf(stage: 1 | 2, low: number, high: number): DmaProtection {
  if (stage === 1) return { read: true, write: (low & STAGE_1_READ_ONLY) === 0 || (high & DIRTY_MODIFIER) !== 0 };
  return { read: (low & STAGE_2_READ) !== 0, write: (low & STAGE_2_WRITE) !== 0 };
}

/** Whether an entry says that its page was written to (io-pgtable-arm.c, iopte_writeable_dirty). */
export function isDirty(low: number, high: number): boolean {
  return (high & DIRTY_MODIFIER) !== 0 && (low & STAGE_1_READ_ONLY) === 0;
}

/** The lower half of an entry whose page is to be watched for the next write (iopte_set_writeable_clean). */
export function cleaned(low: number): number {
  return low | STAGE_1_READ_ONLY;
}

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
export function leafAttributes(stage: 1 | 2, protection: DmaProtection, isLastLevel: boolean): LeafAttributes {
  const { read, write, device = false } = protection;
  const key = [stage === 1, read, write, device, isLastLevel].reduce((bits, bit) => 2 * bits + (bit ? 1 : 0), 0);
  const found = known[key] ?? putTogether(stage, protection, isLastLevel);
  known[key] = found;
  return found;
}

function putTogether(stage: 1 | 2, protection: DmaProtection, isLastLevel: boolean): LeafAttributes {
  const word = stage === 1 ? stage1(protection, isLastLevel) : stage2(protection, isLastLevel);
  return { low: Number(BigInt.asIntN(32, word)), high: Number(BigInt.asIntN(32, word >> LOW)) };
}

/** Stage 1 has a bit against writes, and none against reads. */
function stage1({ write, device = false }: DmaProtection, isLastLevel: boolean): bigint {
  return word(
    stage1Leaf.encode({
      ...common(isLastLevel, device),
      AttrIndx: device ? MEMORY_TYPES.DEVICE : MEMORY_TYPES.CACHED,
      APUnprivileged: 1,
      APReadOnly: write ? 0 : 1,
      nG: 1,
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

const STAGE_1_READ_ONLY = 2 ** stage1Leaf.fields.APReadOnly.low;
const STAGE_2_READ = 2 ** stage2Leaf.fields.S2APRead.low;
const STAGE_2_WRITE = 2 ** stage2Leaf.fields.S2APWrite.low;

/** What an entry lets a device do, given its lower 32 bits. */
export function protectionOf(stage: 1 | 2, low: number): DmaProtection {
  if (stage === 1) return { read: true, write: (low & STAGE_1_READ_ONLY) === 0 };
  return { read: (low & STAGE_2_READ) !== 0, write: (low & STAGE_2_WRITE) !== 0 };
}

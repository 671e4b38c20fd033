/** Words of a stream table entry or context descriptor. */
const WORDS = 8;

/** How entries of one kind are changed. */
export interface EntryKind {
  /** The bits that an SMMU looks at in this entry. */
  used(entry: ArrayLike<bigint>): readonly bigint[];
}

/**
 * Changes an entry that an SMMU may be reading, in steps that it may see one by one: each leaves an entry that means the old
 * thing, the new thing or, where there is no other way, nothing (arm-smmu-v3.c, arm_smmu_write_entry). Only single words
 * change at once.
 * @param step makes the SMMU look at the entry anew; called after each step that changed something
 */
export function writeEntry(entry: BigUint64Array, target: readonly bigint[], kind: EntryKind, step: () => void): void {
  const { ignored, differing } = compare(entry, target, kind);
  const [critical] = differing;
  if (critical !== undefined && differing.length === 1) {
    // First what is not looked at yet, then the one word that matters, then what is not looked at any more.
    ignored[critical] = entry[critical] ?? 0n;
    set(entry, ignored, 0, WORDS, step);
    set(entry, target, critical, critical + 1, step);
    set(entry, target, 0, WORDS, step);
  } else if (critical !== undefined) {
    // The entry is not valid in between: its lowest bit says so.
    set(entry, [0n], 0, 1, step);
    set(entry, target, 1, WORDS, step);
    set(entry, target, 0, 1, step);
  } else {
    set(entry, target, 0, WORDS, step);
  }
}

interface Comparison {
  /** The entry with the bits of the target where nobody looks at present. */
  readonly ignored: bigint[];
  /** Words that would still mean something else then. */
  readonly differing: readonly number[];
}

function compare(entry: BigUint64Array, target: readonly bigint[], { used }: EntryKind): Comparison {
  const usedNow = used(entry);
  const usedThen = used(target);
  const ignored: bigint[] = [];
  const differing: number[] = [];
  for (let word = 0; word < WORDS; word++) {
    const mask = usedNow[word] ?? 0n;
    const wanted = target[word] ?? 0n;
    const between = ((entry[word] ?? 0n) & mask) | (wanted & ~mask);
    ignored.push(between);
    if ((between & (usedThen[word] ?? 0n)) !== wanted) differing.push(word);
  }
  return { ignored, differing };
}

function set(entry: BigUint64Array, target: readonly bigint[], from: number, to: number, step: () => void): void {
  let changed = false;
  for (let word = from; word < to; word++) {
    const value = target[word] ?? 0n;
    if (entry[word] === value) continue;
    entry[word] = value;
    changed = true;
  }
  if (changed) step();
}

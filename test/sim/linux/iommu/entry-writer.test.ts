import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { contextDescriptor } from "../../../../src/sim/hw/smmu/context-descriptor.js";
import { streamTableEntry } from "../../../../src/sim/hw/smmu/stream-table-entry.js";
import { writeEntry } from "../../../../src/sim/linux/iommu/entry-writer.js";
import {
  ABORT_ENTRY,
  contextEntryKind,
  stage1Entry,
  streamEntryKind,
} from "../../../../src/sim/linux/iommu/stream-entries.js";

const NOTHING = new Array<bigint>(8).fill(0n);
const STAGE_2 = streamTableEntry.encode({
  V: 1,
  Config: 6,
  S2VMID: 7,
  S2T0SZ: 20,
  S2SL0: 2,
  S2AA64: 1,
  S2R: 1,
  S2TTB: 2 ** 20,
});

/** Each state of the entry that the SMMU may see. */
function steps(from: readonly bigint[], to: readonly bigint[]): readonly bigint[][] {
  const entry = BigUint64Array.from(from);
  const seen: bigint[][] = [];
  writeEntry(entry, to, streamEntryKind, () => seen.push([...entry]));
  return seen;
}

const meaning = (words: ArrayLike<bigint>) => {
  const used = streamEntryKind.used(words);
  return used.map((mask, word) => mask & (words[word] ?? 0n));
};

describe("a change of an entry", () => {
  it.each([
    ["from abort to stage 1", ABORT_ENTRY, stage1Entry(0x4000_0000), 2],
    ["from stage 1 to abort", stage1Entry(0x4000_0000), ABORT_ENTRY, 2],
    ["from abort to stage 2", ABORT_ENTRY, STAGE_2, 2],
    ["from one context to another", stage1Entry(0x4000_0000), stage1Entry(0x4000_1000), 1],
    ["to what is there", STAGE_2, STAGE_2, 0],
  ])("%s means the old thing or the new one at every step", (_name, from, to, count) => {
    const seen = steps(from, to);
    expect(seen).toHaveLength(count);
    for (const state of seen) expect([meaning(from), meaning(to)]).toContainEqual(meaning(state));
    if (count > 0) expect(seen.at(-1)).toEqual(to);
  });

  it("that takes more than one word makes the entry invalid in between", () => {
    const seen = steps(stage1Entry(0x4000_0000), STAGE_2);
    const valid = seen.map(([first = 0n]) => first & 1n);
    expect(valid).toEqual([0n, 0n, 1n]);
    expect(seen.at(-1)).toEqual(STAGE_2);
  });

  it("ends with the target, whatever was there", () => {
    const word = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    const fields = fc.record({ V: fc.constant(1), ASID: fc.integer({ min: 0, max: 0xffff }), MAIR0: fc.nat(0xffff) });
    fc.assert(
      fc.property(fc.array(word, { minLength: 8, maxLength: 8 }), fields, (from, values) => {
        const entry = BigUint64Array.from(from);
        const target = contextDescriptor.encode(values);
        writeEntry(entry, target, contextEntryKind, () => {});
        expect([...entry]).toEqual(target);
        writeEntry(entry, NOTHING, contextEntryKind, () => {});
        expect([...entry]).toEqual(NOTHING);
      }),
    );
  });
});

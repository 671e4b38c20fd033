import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Epoch } from "../../../../src/sim/hw/smmu/epoch.js";
import { ANY, GLOBAL, Tlb, type TlbEntry, type TlbScope } from "../../../../src/sim/hw/smmu/tlb.js";

interface Kept extends TlbEntry {
  readonly start: number;
}

/** A list, oldest first, searched from end to end. */
class Model {
  entries: (Kept | undefined)[] = [];
  readonly #capacity: number;
  #cursor = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.entries = new Array(capacity).fill(undefined);
  }

  insert(address: number, entry: TlbEntry): void {
    const size = 2 ** entry.sizeBits;
    this.entries[this.#cursor] = { ...entry, start: address - (address % size) };
    this.#cursor = (this.#cursor + 1) % this.#capacity;
  }

  matches(tag: number, asid: number, address: number): Kept[] {
    return this.entries
      .filter((entry) => entry !== undefined)
      .filter((entry) => entry.tag === tag && (entry.asid === asid || entry.asid === GLOBAL))
      .filter(({ start, sizeBits }) => address >= start && address < start + 2 ** sizeBits);
  }

  invalidate(scope: TlbScope): void {
    this.entries = this.entries.map((entry) => {
      if (entry === undefined) return undefined;
      const inTag = (entry.tag & scope.tagMask) === (scope.tag & scope.tagMask);
      const inAsid = scope.asid === ANY || entry.asid === scope.asid || (scope.withGlobal && entry.asid === GLOBAL);
      const inRange = entry.start < scope.end && entry.start + 2 ** entry.sizeBits > scope.start;
      const inTable =
        (scope.granuleBits === ANY || scope.granuleBits === entry.granuleBits) &&
        (scope.level === ANY || scope.level === entry.level);
      return inTag && inAsid && inRange && inTable ? undefined : entry;
    });
  }
}

const tags = fc.constantFrom(0, 1, 4, 8, 12);
const asids = fc.constantFrom(0, 1, 2);
const pages = fc.nat(64);
// Near 2^48 as well: block numbers with more than 32 bits.
const addresses = fc.tuple(pages, fc.boolean()).map(([page, high]) => page * 4096 + (high ? 2 ** 48 - 2 ** 19 : 0));
const entries: fc.Arbitrary<TlbEntry> = fc.record({
  tag: tags,
  asid: fc.oneof({ weight: 3, arbitrary: asids }, { weight: 1, arbitrary: fc.constant(GLOBAL) }),
  sizeBits: fc.constantFrom(12, 14, 16),
  level: fc.constantFrom(2, 3),
  granuleBits: fc.constantFrom(12, 14),
  permissions: fc.constant(15),
  target: fc.nat(1000).map((page) => page * 65536),
  intermediate: fc.constant(0),
});
const scopes: fc.Arbitrary<TlbScope> = fc.record({
  tag: tags,
  tagMask: fc.constantFrom(~0, ~4, 3),
  asid: fc.constantFrom(ANY, 0, 1, 2),
  withGlobal: fc.boolean(),
  start: addresses,
  end: fc.constant(0),
  granuleBits: fc.constantFrom(ANY, ANY, 12, 14),
  level: fc.constantFrom(ANY, ANY, 2, 3),
});
const lengths = fc.constantFrom(1, 4096, 16384, 2 ** 18, 2 ** 52);

type Step = { readonly insert: TlbEntry; readonly at: number } | { readonly scope: TlbScope };
const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ insert: entries, at: addresses }) },
  {
    weight: 1,
    arbitrary: fc.tuple(scopes, lengths).map(([scope, length]) => ({ scope: { ...scope, end: scope.start + length } })),
  },
);

describe("TLB", () => {
  it.each([8, 64])("with %i entries holds what a list would hold", (capacity) => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 120 }), (all) => {
        const epoch = new Epoch();
        const tlb = new Tlb(capacity, epoch);
        const model = new Model(capacity);
        for (const step of all) {
          const before = model.entries.filter((entry) => entry !== undefined);
          const epochBefore = epoch.value;
          if ("insert" in step) {
            tlb.insert(step.at, step.insert);
            model.insert(step.at, step.insert);
          } else {
            tlb.invalidate(step.scope);
            model.invalidate(step.scope);
          }
          const after = model.entries.filter((entry) => entry !== undefined);
          expect(tlb.size).toBe(after.length);
          if (before.some((entry) => !after.includes(entry))) expect(epoch.value).not.toBe(epochBefore);
        }
        for (const tag of [0, 1, 4, 8, 12]) {
          for (const asid of [0, 1, 2]) {
            for (const base of [0, 2 ** 48 - 2 ** 19]) {
              for (let page = 0; page < 68; page++) checkAddress(tlb, model, tag, asid, base + page * 4096 + 5);
            }
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  function checkAddress(tlb: Tlb, model: Model, tag: number, asid: number, address: number): void {
    const expected = model.matches(tag, asid, address).map(({ start, target, sizeBits }) => [start, target, sizeBits]);
    const slot = tlb.find(tag, asid, address);
    if (expected.length === 0) expect(slot).toBe(-1);
    // Several may match, which software has to avoid; any of them will do.
    else expect(expected).toContainEqual([tlb.startOf(slot), tlb.targetOf(slot), tlb.sizeBitsOf(slot)]);
  }
});

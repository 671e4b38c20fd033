import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { commands } from "../../../../src/sim/hw/smmu/commands.js";
import { ABORTED } from "../../../../src/sim/hw/smmu/smmu.js";
import { contiguousCount, PageTables } from "./page-tables.js";
import { Rig, STREAM } from "./rig.js";

const TG0 = { 4096: 0, 65536: 1, 16384: 2 } as const;
const GiB = 2 ** 30;
const granules = [4096, 16384, 65536] as const;

function stage1(inputBits = 48, granule: (typeof granules)[number] = 4096, rig = new Rig()) {
  const tables = new PageTables(rig.memory, { granule, inputBits });
  rig.setStage1(STREAM, { T0SZ: 64 - inputBits, TG0: TG0[granule], TTB0: tables.root });
  return { rig, tables };
}

/** Levels that may hold blocks or pages. */
const leafLevels = { 4096: [1, 2, 3], 16384: [2, 3], 65536: [2, 3] } as const;

interface Mapping {
  readonly input: number;
  readonly output: number;
  readonly level: number;
  readonly size: number;
  readonly write: boolean;
  readonly contiguous: boolean;
}

/** Mappings that do not overlap, whose tables are not in one another's way. */
function mappings(tables: PageTables, levels: readonly number[], outputBits = 48): fc.Arbitrary<Mapping[]> {
  const one = fc
    .record({
      level: fc.constantFrom(...levels.filter((level) => level >= tables.firstLevel)),
      input: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      output: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      write: fc.boolean(),
      contiguous: fc.boolean(),
    })
    .map(({ level, input, output, write, contiguous }) => {
      const block = 2 ** tables.shift(level);
      const range = block * contiguousCount(tables.granule, level);
      const isRange = contiguous && range <= 2 ** tables.inputBits;
      const size = isRange ? range : block;
      const place = (fraction: number, bits: number) => Math.floor((fraction * 2 ** bits) / size) * size;
      return {
        level,
        size,
        write,
        contiguous: isRange,
        input: place(input, tables.inputBits),
        output: place(output, outputBits),
      };
    });
  // Each in a root entry of its own would be too few for small roots: drop what overlaps at block granularity of the coarsest level.
  return fc.array(one, { minLength: 1, maxLength: 12 }).map((all) => {
    const kept: Mapping[] = [];
    const coarse = 2 ** tables.shift(Math.max(Math.min(...levels), tables.firstLevel));
    for (const mapping of all) {
      const [start, end] = [Math.floor(mapping.input / coarse), Math.ceil((mapping.input + mapping.size) / coarse)];
      const overlaps = kept.some(
        ({ input, size }) => Math.floor(input / coarse) < end && Math.ceil((input + size) / coarse) > start,
      );
      if (!overlaps) kept.push(mapping);
    }
    return kept;
  });
}

function build(tables: PageTables, all: readonly Mapping[]): void {
  for (const { input, output, level, write, contiguous } of all) {
    if (contiguous) tables.mapContiguous(input, output, level, { write });
    else tables.map(input, output, level, { write });
  }
}

describe("stage 1", () => {
  it("translates through four levels of 4 KiB tables", () => {
    const { rig, tables } = stage1();
    tables.map(0x1234_5678_9000, 0x8_7654_3000);
    expect(rig.read(0x1234_5678_9abc)).toBe(0x8_7654_3abc);
    expect(rig.smmu.reach).toBe(0x1000 - 0xabc);
    expect(rig.smmu.counters).toMatchObject({ walks: 1, descriptorReads: 4, tlbMisses: 1, tlbHits: 0 });
    expect(rig.write(0x1234_5678_9000)).toBe(0x8_7654_3000);
    expect(rig.smmu.counters).toMatchObject({ translations: 2, walks: 1, tlbHits: 1 });
  });

  it.each(granules)("agrees with the mappings that its tables of %i bytes were built from", (granule) => {
    const sizes = fc.integer({ min: 25, max: 48 });
    fc.assert(
      fc.property(sizes, fc.gen(), (inputBits, gen) => {
        const { rig, tables } = stage1(inputBits, granule);
        const all = gen(() => mappings(tables, leafLevels[granule]));
        build(tables, all);
        for (let round = 0; round < 2; round++) {
          for (const { input, output, size, write } of all) {
            const offset = gen(() => fc.integer({ min: 0, max: Math.min(size, 2 ** 31) - 1 }));
            expect(rig.read(input + offset)).toBe(output + offset);
            expect(rig.smmu.reach).toBe(size - offset);
            expect(rig.write(input + size - 1)).toBe(write ? output + size - 1 : ABORTED);
          }
        }
        rig.events();
        const hole = gen(() => fc.integer({ min: 0, max: Math.min(2 ** inputBits, 2 ** 52) - 1 }));
        if (all.some(({ input, size }) => hole >= input && hole < input + size)) return;
        expect(rig.read(hole)).toBe(ABORTED);
        expect(rig.events()).toMatchObject([{ name: "F_TRANSLATION", inputAddress: BigInt(hole), stage: 1 }]);
      }),
      { numRuns: 60 },
    );
  });

  it("reads descriptors of 52-bit addresses, and blocks of 4 TiB with them", () => {
    const rig = new Rig({ outputBits: 52, largeInput: true });
    const tables = new PageTables(rig.memory, { granule: 65536, inputBits: 52 });
    rig.setStage1(STREAM, { T0SZ: 12, TG0: 1, IPS: 6, TTB0: tables.root });
    const block = 0xf_1400_0000_0000;
    tables.map(2 ** 51, block, 1);
    tables.map(0x10000, 0xa_bcde_1234_0000);
    expect(rig.read(2 ** 51 + 2 ** 42 - 5)).toBe(block + 2 ** 42 - 5);
    expect(rig.read(0x12345)).toBe(0xa_bcde_1234_2345);
    expect(rig.smmu.reach).toBe(0x10000 - 0x2345);
  });

  it("takes no range for contiguous that is larger than all it can address", () => {
    const { rig, tables } = stage1(26, 16384);
    const block = 2 ** 25;
    tables.map(0, 5 * block, 2, { contiguous: true });
    tables.map(block, 9 * block, 2);
    expect([rig.read(7), rig.read(block + 7)]).toEqual([5 * block + 7, 9 * block + 7]);
    expect(rig.smmu.reach).toBe(block - 7);
  });

  it("does not know blocks of 4 TiB with smaller addresses", () => {
    const { rig, tables } = stage1(48, 65536);
    tables.map(0, 0, 1);
    expect(rig.read(0)).toBe(ABORTED);
    expect(rig.eventNames()).toEqual(["F_TRANSLATION"]);
  });

  it("records an unmapped read as the architecture lays it out", () => {
    const { rig } = stage1();
    expect(rig.read(0x6000_0000)).toBe(ABORTED);
    expect(rig.events()[0]?.words).toEqual([0x0000010000000010n, 0x0000020800000000n, 0x0000000060000000n, 0n]);
    expect(rig.write(0x6000_0123)).toBe(ABORTED);
    expect(rig.events()[0]?.words).toEqual([0x0000010000000010n, 0x0000020000000000n, 0x0000000060000123n, 0n]);
  });

  it("faults outside the input range, with all 64 bits in the record", () => {
    const { rig, tables } = stage1(40);
    tables.map(0, 0x5000_0000);
    expect(rig.read(2 ** 40)).toBe(ABORTED);
    expect(rig.smmu.translateWide(STREAM, 1n << 63n, false)).toBe(ABORTED);
    expect(rig.smmu.translateWide(STREAM, 1n << 52n, false)).toBe(ABORTED);
    expect(rig.smmu.translateWide(STREAM, 0n, false)).toBe(0x5000_0000);
    // What is in the TLB by now has the same lower bits.
    expect(rig.smmu.translateWide(STREAM, 1n << 52n, false)).toBe(ABORTED);
    expect(rig.read(2 ** 52)).toBe(ABORTED);
    const inputs = [1n << 40n, 1n << 63n, 1n << 52n, 1n << 52n, 1n << 52n];
    expect(rig.events()).toMatchObject(inputs.map((inputAddress) => ({ name: "F_TRANSLATION", inputAddress })));
  });

  it("ignores the top byte where the CD says so", () => {
    const rig = new Rig();
    const tables = new PageTables(rig.memory);
    tables.map(0x4000, 0x5000_0000);
    rig.setStage1(STREAM, { TTB0: tables.root, TBI0: 1 });
    expect(rig.smmu.translateWide(STREAM, 0xab00_0000_0000_4004n, false)).toBe(0x5000_0004);
    expect(rig.smmu.translateWide(STREAM, 0xab10_0000_0000_4004n, false)).toBe(ABORTED);
    expect(rig.events()).toMatchObject([{ name: "F_TRANSLATION", inputAddress: 0xab10_0000_0000_4004n }]);
  });

  it("translates the upper half through TTB1", () => {
    const rig = new Rig();
    const lower = new PageTables(rig.memory, { inputBits: 39 });
    const upper = new PageTables(rig.memory, { granule: 65536, inputBits: 42 });
    lower.map(0x7f_ffff_f000, 0x5000_0000);
    upper.map(2 ** 42 - 0x10000, 0x6_0000_0000);
    rig.setStage1(STREAM, { TTB0: lower.root, T0SZ: 25, EPD1: 0, TTB1: upper.root, T1SZ: 22, TG1: 3 });
    const high = 0xffff_ffff_ffff_0000n;
    for (let round = 0; round < 2; round++) {
      expect(rig.smmu.translateWide(STREAM, high + 0x1234n, false)).toBe(0x6_0000_1234);
      expect(rig.smmu.reach).toBe(0x10000 - 0x1234);
      expect(rig.read(0x7f_ffff_f000)).toBe(0x5000_0000);
    }
    expect(rig.smmu.translateWide(STREAM, 0xffff_f800_0000_0000n, false)).toBe(ABORTED);
    expect(rig.read(Number(high & 0xf_ffff_ffff_ffffn) + 0x1234)).toBe(ABORTED);
    rig.submit(commands.TLBI_NH_VA.encode({ ASID: 1, Address: high }));
    expect(rig.smmu.tlbSize).toBe(1);
    rig.submit(commands.TLBI_NH_VA.encode({ ASID: 1, Address: 0x7f_ffff_f000n }));
    expect(rig.smmu.tlbSize).toBe(0);
  });

  it.each([
    [4096, 2],
    [16384, 1],
    [65536, 3],
  ] as const)("has pages of %i bytes in the upper half for a TG1 of %i", (granule, TG1) => {
    const rig = new Rig();
    const upper = new PageTables(rig.memory, { granule, inputBits: 39 });
    upper.map(0, 0x6_0000_0000);
    rig.setStage1(STREAM, { EPD0: 1, EPD1: 0, TTB1: upper.root, T1SZ: 25, TG1 });
    expect(rig.smmu.translateWide(STREAM, 0xffff_ff80_0000_0123n, false)).toBe(0x6_0000_0123);
    expect(rig.smmu.reach).toBe(granule - 0x123);
  });

  it("takes a table's address for aligned as its size makes it", () => {
    const { rig, tables } = stage1();
    tables.map(0x1000, 0x5000_0000);
    rig.setStage1(STREAM, { TTB0: tables.root + 0x7f0 });
    expect(rig.read(0x1000)).toBe(0x5000_0000);
  });

  it("does not walk a half that is disabled", () => {
    const { rig, tables } = stage1();
    tables.map(0x1000, 0x5000_0000);
    rig.setStage1(STREAM, { TTB0: tables.root, EPD0: 1 });
    expect(rig.read(0x1000)).toBe(ABORTED);
    expect(rig.smmu.translateWide(STREAM, 0xffff_ffff_ffff_f000n, true)).toBe(ABORTED);
    expect(rig.events()).toMatchObject([
      { name: "F_TRANSLATION", read: true },
      { name: "F_TRANSLATION", read: false },
    ]);
    expect(rig.smmu.counters.walks).toBe(0);
  });

  it("lets a write-only mapping be read, there being no bit against it, and refuses writes to a read-only one", () => {
    const { rig, tables } = stage1();
    tables.map(0x1000, 0x5000_0000, 3, { read: false });
    tables.map(0x2000, 0x5000_1000, 3, { write: false });
    expect(rig.read(0x1000)).toBe(0x5000_0000);
    expect(rig.write(0x2000)).toBe(ABORTED);
    expect(rig.read(0x2000)).toBe(0x5000_1000);
    // From the TLB this time.
    expect(rig.write(0x2008)).toBe(ABORTED);
    expect(rig.events()).toMatchObject([
      { name: "F_PERMISSION", read: false, inputAddress: 0x2000n, class: 2, stage: 1 },
      { name: "F_PERMISSION", read: false, inputAddress: 0x2008n, class: 2, stage: 1 },
    ]);
  });

  it("refuses unprivileged accesses to privileged pages, and what table descriptors take away", () => {
    const { rig, tables } = stage1();
    tables.map(0x1000, 0x5000_0000, 3, { privileged: true });
    tables.map(GiB, 0x5000_1000);
    tables.map(2 * GiB, 0x5000_2000);
    const noWrites = tables.descriptorAt(GiB, 2);
    tables.store(noWrites, tables.load(noWrites) | (1n << 62n));
    const noUsers = tables.descriptorAt(2 * GiB, 1);
    tables.store(noUsers, tables.load(noUsers) | (1n << 61n));
    expect([rig.read(0x1000), rig.read(GiB), rig.write(GiB), rig.read(2 * GiB)]).toEqual([
      ABORTED,
      0x5000_1000,
      ABORTED,
      ABORTED,
    ]);
    expect(rig.eventNames()).toEqual(["F_PERMISSION", "F_PERMISSION", "F_PERMISSION"]);
    tables.map(3 * GiB, 0x5000_3000);
    expect(rig.write(3 * GiB)).toBe(0x5000_3000);
    rig.setStage1(STREAM, { TTB0: tables.root, HAD0: 1 });
    rig.submit(commands.TLBI_NH_ALL.encode({}));
    expect([rig.write(GiB), rig.read(2 * GiB)]).toEqual([0x5000_1000, 0x5000_2000]);
  });

  it("checks the access flag unless told not to", () => {
    const { rig, tables } = stage1();
    tables.map(0x1000, 0x5000_0000, 3, { accessFlag: false, write: false });
    // The access flag comes before permissions.
    expect(rig.write(0x1000)).toBe(ABORTED);
    expect(rig.eventNames()).toEqual(["F_ACCESS"]);
    rig.setStage1(STREAM, { TTB0: tables.root, AFFD: 1 });
    expect(rig.read(0x1000)).toBe(0x5000_0000);
  });

  it("checks addresses in descriptors against IPS", () => {
    const { rig, tables } = stage1();
    tables.map(0x1000, 2 ** 36);
    tables.map(0x2000, 2 ** 36 - 4096);
    rig.setStage1(STREAM, { TTB0: tables.root, IPS: 1 });
    expect(rig.read(0x1000)).toBe(ABORTED);
    expect(rig.read(0x2000)).toBe(2 ** 36 - 4096);
    tables.store(tables.descriptorAt(GiB, 1), BigInt(2 ** 40) | 3n);
    expect(rig.read(GiB)).toBe(ABORTED);
    expect(rig.events()).toMatchObject([
      { name: "F_ADDR_SIZE", class: 2, stage: 1 },
      { name: "F_ADDR_SIZE", class: 2, stage: 1 },
    ]);
  });

  it("caps addresses by what the SMMU has, whatever IPS says", () => {
    const rig = new Rig({ outputBits: 40 });
    const tables = new PageTables(rig.memory);
    rig.setStage1(STREAM, { TTB0: tables.root, IPS: 7 });
    tables.map(0, 2 ** 40);
    expect(rig.read(0)).toBe(ABORTED);
    expect(rig.eventNames()).toEqual(["F_ADDR_SIZE"]);
  });

  it("faults on reserved descriptors", () => {
    const { rig, tables } = stage1(48, 16384);
    // A block at level 1, and "block" at level 3.
    tables.store(tables.descriptorAt(0, 1), tables.leaf(0, 1, {}));
    tables.store(tables.descriptorAt(2 ** 37, 3), tables.leaf(0, 2, {}));
    expect([rig.read(0), rig.read(2 ** 37)]).toEqual([ABORTED, ABORTED]);
    expect(rig.eventNames()).toEqual(["F_TRANSLATION", "F_TRANSLATION"]);
  });

  it("says where a table is that does not answer", () => {
    const { rig, tables } = stage1();
    tables.store(tables.descriptorAt(0, 2), 0x3000_0000n | 3n);
    expect(rig.read(0x5000)).toBe(ABORTED);
    expect(rig.events()).toMatchObject([
      { name: "F_WALK_EABT", fetchAddress: 0x3000_0028, class: 1, stage: 1, inputAddress: 0x5000n, read: true },
    ]);
  });

  it("records by CD.R what translation faults there are, and everything else anyway", () => {
    const { rig, tables } = stage1();
    tables.map(0x1000, 0x5000_0000, 3, { write: false });
    tables.store(tables.descriptorAt(GiB, 2), 0x3000_0000n | 3n);
    rig.setStage1(STREAM, { TTB0: tables.root, R: 0 });
    expect([rig.write(0x1000), rig.read(0x9000), rig.read(2 ** 48)]).toEqual([ABORTED, ABORTED, ABORTED]);
    rig.read(0x1000);
    expect(rig.write(0x1000)).toBe(ABORTED);
    expect(rig.eventNames()).toEqual([]);
    expect(rig.read(GiB)).toBe(ABORTED);
    expect(rig.eventNames()).toEqual(["F_WALK_EABT"]);
  });

  it("keeps no faults", () => {
    const { rig, tables } = stage1();
    expect(rig.read(0x1000)).toBe(ABORTED);
    tables.map(0x1000, 0x5000_0000, 3, { write: false });
    expect(rig.write(0x1000)).toBe(ABORTED);
    tables.map(0x1000, 0x5000_0000);
    expect(rig.write(0x1000)).toBe(0x5000_0000);
  });

  it("knows EL2, where every access is privileged and there is one half, and EL2 with E2H", () => {
    const rig = new Rig({ hypervisor: true });
    const tables = new PageTables(rig.memory);
    tables.map(0x1000, 0x5000_0000, 3, { privileged: true });
    rig.setStage1(STREAM, { TTB0: tables.root, EPD0: 1, ASID: 5 }, { STRW: 2 });
    expect(rig.read(0x1000)).toBe(0x5000_0000);
    expect(rig.smmu.translateWide(STREAM, 0xffff_ffff_ffff_f000n, false)).toBe(ABORTED);
    rig.submit(commands.TLBI_NH_ALL.encode({}), commands.TLBI_NSNH_ALL.encode({}));
    expect(rig.smmu.tlbSize).toBe(1);
    rig.submit(commands.TLBI_EL2_VA.encode({ Address: 0x1000n, ASID: 9 }));
    expect(rig.smmu.tlbSize).toBe(0);
  });
});

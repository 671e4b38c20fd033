import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { commands } from "../../../../src/sim/hw/smmu/commands.js";
import { ABORTED } from "../../../../src/sim/hw/smmu/smmu.js";
import { streamConfigs } from "../../../../src/sim/hw/smmu/stream-table-entry.js";
import { PageTables } from "./page-tables.js";
import { Rig, STREAM } from "./rig.js";

const TG = { 4096: 0, 65536: 1, 16384: 2 } as const;
type Granule = keyof typeof TG;
const GiB = 2 ** 30;

/** STE.S2SL0 by granule and first level. */
const SL0: Record<Granule, Partial<Record<number, number>>> = {
  4096: { 2: 0, 1: 1, 0: 2 },
  16384: { 3: 0, 2: 1, 1: 2 },
  65536: { 3: 0, 2: 1, 1: 2 },
};

function fields(tables: PageTables) {
  const granule = tables.granule as Granule;
  const S2SL0 = SL0[granule][tables.firstLevel]!;
  return { S2T0SZ: 64 - tables.inputBits, S2TG: TG[granule], S2SL0, S2TTB: tables.root };
}

function stage2(inputBits = 48, granule: Granule = 4096, firstLevel?: number, outputBits: 44 | 48 = 48) {
  const rig = new Rig({ outputBits });
  const options = firstLevel === undefined ? {} : { firstLevel };
  const tables = new PageTables(rig.memory, { stage: 2, granule, inputBits, ...options });
  rig.setStage2(STREAM, fields(tables));
  return { rig, tables };
}

describe("stage 2", () => {
  it("translates intermediate addresses", () => {
    const { rig, tables } = stage2();
    tables.map(0x1234_5678_9000, 0x8_7654_3000);
    expect(rig.read(0x1234_5678_9abc)).toBe(0x8_7654_3abc);
    expect(rig.write(0x1234_5678_9abc)).toBe(0x8_7654_3abc);
    expect(rig.smmu.counters).toMatchObject({ walks: 1, descriptorReads: 4, tlbHits: 1, tlbMisses: 1 });
  });

  it.each([
    // First level, input bits, tables side by side.
    [4096, 0, 44, 1],
    [4096, 1, 40, 2],
    [4096, 1, 43, 16],
    [4096, 2, 34, 16],
    [16384, 2, 40, 16],
    [16384, 1, 44, 1],
    [16384, 3, 29, 16],
    [65536, 2, 44, 4],
    [65536, 2, 46, 16],
    [65536, 1, 48, 1],
    [65536, 3, 33, 16],
  ] as const)("walks tables of %i bytes from level %i for %i bits: %i side by side", (granule, level, bits, count) => {
    const { rig, tables } = stage2(bits, granule, level);
    const entries = 2 ** (bits - tables.shift(level));
    expect(Math.max(1, entries / (granule / 8))).toBe(count);
    const last = 2 ** bits - granule;
    tables.map(0, 0x5000_0000);
    tables.map(last, 0x6000_0000);
    expect(rig.read(5)).toBe(0x5000_0005);
    expect(rig.read(last + 7)).toBe(0x6000_0007);
    expect(rig.smmu.counters).toMatchObject({ walks: 2, descriptorReads: 2 * (4 - level) });
    expect(rig.read(last - granule)).toBe(ABORTED);
    expect(rig.eventNames()).toEqual(["F_TRANSLATION"]);
  });

  it("knows write-only and read-only", () => {
    const { rig, tables } = stage2();
    tables.map(0x1000, 0x5000_0000, 3, { read: false });
    tables.map(0x2000, 0x5000_1000, 3, { write: false });
    for (let round = 0; round < 2; round++) {
      expect([rig.write(0x1000), rig.read(0x1000)]).toEqual([0x5000_0000, ABORTED]);
      expect([rig.read(0x2000), rig.write(0x2008)]).toEqual([0x5000_1000, ABORTED]);
    }
    const faults = rig.events();
    expect(faults.map(({ read, inputAddress }) => [read, inputAddress])).toEqual([
      [true, 0x1000n],
      [false, 0x2008n],
      [true, 0x1000n],
      [false, 0x2008n],
    ]);
    for (const fault of faults) {
      const intermediateAddress = Number(fault.inputAddress) - (Number(fault.inputAddress) % 4096);
      expect(fault).toMatchObject({ name: "F_PERMISSION", stage: 2, class: 2, intermediateAddress });
    }
  });

  it("records its faults with the intermediate address", () => {
    const { rig } = stage2();
    expect(rig.read(0x6000_0123)).toBe(ABORTED);
    expect(rig.events()[0]?.words).toEqual([
      0x0000010000000010n,
      0x0000028800000000n,
      0x0000000060000123n,
      0x0000000060000000n,
    ]);
  });

  it("blames stage 1, in bypass, for addresses beyond what there is, and itself for those beyond its table", () => {
    const { rig, tables } = stage2(40, 4096, 1, 44);
    tables.map(0, 0x5000_0000);
    expect(rig.read(2 ** 40)).toBe(ABORTED);
    expect(rig.read(2 ** 44)).toBe(ABORTED);
    expect(rig.smmu.translateWide(STREAM, 2n ** 60n, true)).toBe(ABORTED);
    expect(rig.events()).toMatchObject([
      { name: "F_TRANSLATION", stage: 2, class: 2, intermediateAddress: 2 ** 40 },
      { name: "F_ADDR_SIZE", stage: 1, class: 2, intermediateAddress: 0 },
      { name: "F_ADDR_SIZE", stage: 1, inputAddress: 2n ** 60n },
    ]);
  });

  it("checks the access flag, output addresses and descriptors, and is silent without S2R", () => {
    const { rig, tables } = stage2();
    tables.map(0x1000, 0x5000_0000, 3, { accessFlag: false });
    tables.map(0x2000, 2 ** 40);
    tables.store(tables.descriptorAt(GiB, 2), 0x3000_0000n | 3n);
    const faults = () => [rig.read(0x1000), rig.read(0x2000), rig.read(0x3000), rig.read(GiB)];
    rig.setStage2(STREAM, { ...fields(tables), S2PS: 2 });
    expect(faults()).toEqual([ABORTED, ABORTED, ABORTED, ABORTED]);
    expect(rig.events()).toMatchObject([
      { name: "F_ACCESS", stage: 2, class: 2, intermediateAddress: 0x1000 },
      { name: "F_ADDR_SIZE", stage: 2, class: 2, intermediateAddress: 0x2000 },
      { name: "F_TRANSLATION", stage: 2, class: 2, intermediateAddress: 0x3000 },
      { name: "F_WALK_EABT", stage: 2, class: 2, fetchAddress: 0x3000_0000 },
    ]);
    rig.setStage2(STREAM, { ...fields(tables), S2PS: 2, S2R: 0 });
    expect(faults()).toEqual([ABORTED, ABORTED, ABORTED, ABORTED]);
    expect(rig.eventNames()).toEqual(["F_WALK_EABT"]);
    rig.setStage2(STREAM, { ...fields(tables), S2AFFD: 1 });
    expect(rig.read(0x1000)).toBe(0x5000_0000);
  });

  it("is used alone where stage 1 is told to bypass", () => {
    const rig = new Rig({ substreamIdBits: 4 });
    const tables = new PageTables(rig.memory, { stage: 2 });
    tables.map(0x1000, 0x5000_0000);
    rig.setStage2(STREAM, { ...fields(tables), Config: streamConfigs.NESTED, S1CDMax: 2, S1DSS: 1 });
    expect(rig.read(0x1000)).toBe(0x5000_0000);
  });
});

/** Guest memory: intermediate addresses from 1 GiB on, 2 GiB higher in physical memory, mapped by stage 2 page by page. */
const GUEST = GiB;
const HOST = 3 * GiB;

function nested(options: { granule1?: Granule; granule2?: Granule; protectsWalks?: boolean } = {}) {
  const { granule1 = 4096, granule2 = 4096, protectsWalks = false } = options;
  const rig = new Rig();
  const below = new PageTables(rig.memory, { stage: 2, granule: granule2, inputBits: 40 });
  const guest = new Uint8Array(16 * 2 ** 20);
  const backing = rig.memory.allocate(guest, 2 ** 24)!;
  const place = (address: number) => address - GUEST + backing;
  let next = GUEST;
  const allocate = (size: number, alignment: number) => {
    const address = Math.ceil(next / alignment) * alignment;
    next = address + size;
    for (let at = Math.floor(address / granule2) * granule2; at < next; at += granule2) below.map(at, place(at));
    return address;
  };
  const above = new PageTables(rig.memory, { granule: granule1, allocate, place });
  const context = allocate(64, 64);
  const ste = { ...fields(below), S2AA64: 1, S2R: 1, S2PS: 5, S2VMID: 7, S2PTW: Number(protectsWalks) };
  const cd = { V: 1, AA64: 1, T0SZ: 16, TG0: TG[granule1], EPD1: 1, IPS: 5, R: 1, A: 1, ASID: 1, TTB0: above.root };
  rig.writeCd(cd, place(context));
  rig.setSte(STREAM, { V: 1, Config: streamConfigs.NESTED, S1ContextPtr: context, ...ste });
  return { rig, above, below, context, backing, place };
}

describe("stage 1 on stage 2", () => {
  it("translates the tables' own addresses, too", () => {
    const { rig, above, below } = nested();
    above.map(0x1234_5678_9000, 0x20_0000_3000);
    below.map(0x20_0000_3000, HOST);
    expect(rig.read(0x1234_5678_9abc)).toBe(HOST + 0xabc);
    expect(rig.smmu.reach).toBe(0x544);
    // One walk above; below, one for the CD, one for each of four tables, and one for the page. The CD is with the tables.
    expect(rig.smmu.counters).toMatchObject({ translations: 1, tlbMisses: 1, walks: 7 });
    expect(rig.write(0x1234_5678_9004)).toBe(HOST + 4);
    expect(rig.smmu.counters).toMatchObject({ walks: 7, tlbHits: 1 });
  });

  it("agrees with applying one mapping after the other, whatever their sizes", () => {
    const granules = fc.constantFrom<Granule>(4096, 16384, 65536);
    fc.assert(
      fc.property(granules, granules, fc.gen(), (granule1, granule2, gen) => {
        const { rig, above, below } = nested({ granule1, granule2 });
        const level1 = gen(() => fc.constantFrom(2, 3));
        const level2 = gen(() => fc.constantFrom(2, 3));
        const size1 = 2 ** above.shift(level1);
        const size2 = 2 ** below.shift(level2);
        const pages = gen(() => fc.uniqueArray(fc.nat(3), { minLength: 1, maxLength: 4 }));
        const ipa = 0x40_0000_0000;
        for (const page of pages) above.map(0x7000_0000_0000 + page * size1, ipa + page * size1, level1);
        const span = Math.min(size1 * 4, size2 * 4);
        for (let at = 0; at < span; at += size2) below.map(ipa + at, 0x100_0000_0000 + at, level2);
        for (let i = 0; i < 12; i++) {
          const offset = gen(() => fc.nat(Math.min(span, size1 * 4, 2 ** 31) - 1));
          const isMapped = pages.includes(Math.floor(offset / size1));
          expect(rig.read(0x7000_0000_0000 + offset)).toBe(isMapped ? 0x100_0000_0000 + offset : ABORTED);
          if (!isMapped) continue;
          const smaller = Math.min(size1, size2);
          expect(rig.smmu.reach).toBe(smaller - (offset % smaller));
        }
      }),
      { numRuns: 40 },
    );
  });

  it("tells by CLASS and IPA what it was looking for when stage 2 faulted", () => {
    const { rig, above, below, context } = nested();
    above.map(0x1000, 0x20_0000_3000, 3);
    const table = above.descriptorAt(0x1000, 3);
    const page = (address: number) => address - (address % 4096);
    const drop = (address: number) => {
      const descriptor = below.descriptorAt(address, 3);
      const old = below.load(descriptor);
      below.store(descriptor, 0n);
      return () => below.store(descriptor, old);
    };
    // The final address is not mapped.
    expect(rig.read(0x1abc)).toBe(ABORTED);
    // A table is not.
    rig.submit(commands.TLBI_S12_VMALL.encode({ VMID: 7 }));
    const backTable = drop(table);
    expect(rig.read(0x1abc)).toBe(ABORTED);
    backTable();
    // The CD is not.
    rig.submit(commands.TLBI_S12_VMALL.encode({ VMID: 7 }), commands.CFGI_CD.encode({ SID: STREAM, Leaf: 1 }));
    const backContext = drop(context);
    expect(rig.read(0x1abc)).toBe(ABORTED);
    backContext();
    const common = { name: "F_TRANSLATION", stage: 2, inputAddress: 0x1abcn };
    expect(rig.events()).toMatchObject([
      { ...common, class: 2, intermediateAddress: 0x20_0000_3000 },
      { ...common, class: 1, intermediateAddress: page(table) },
      { ...common, class: 0, intermediateAddress: page(context) },
    ]);
  });

  it("needs stage 2 to let tables be read, and says that it was the walk's read", () => {
    const { rig, above, below, place } = nested();
    above.map(0x1000, 0x20_0000_3000);
    const table = above.descriptorAt(0x1000, 3);
    const page = table - (table % 4096);
    below.map(page, place(page), 3, { read: false });
    expect(rig.write(0x1000)).toBe(ABORTED);
    expect(rig.events()).toMatchObject([
      { name: "F_PERMISSION", stage: 2, class: 1, tableRead: true, read: false, intermediateAddress: page },
    ]);
  });

  it("has both stages agree to an access, and tells which did not, from the TLB as well", () => {
    const { rig, above, below } = nested();
    above.map(0x1000, 0x20_0000_1000, 3, { write: false });
    below.map(0x20_0000_1000, HOST);
    above.map(0x2000, 0x20_0000_2000);
    below.map(0x20_0000_2000, HOST, 3, { write: false });
    for (let round = 0; round < 2; round++) {
      expect([rig.write(0x1008), rig.read(0x1008)]).toEqual([ABORTED, HOST + 8]);
      expect([rig.write(0x2008), rig.read(0x2008)]).toEqual([ABORTED, HOST + 8]);
    }
    above.map(2 ** 30, 0x30_0000_0000, 2);
    below.map(0x30_0000_0000, HOST, 2, { write: false });
    expect([rig.read(2 ** 30 + 0x3008), rig.write(2 ** 30 + 0x5008)]).toEqual([HOST + 0x3008, ABORTED]);
    const third = { name: "F_PERMISSION", stage: 2, intermediateAddress: 0x30_0000_5000 };
    const first = { name: "F_PERMISSION", stage: 1, inputAddress: 0x1008n, intermediateAddress: 0 };
    const second = { name: "F_PERMISSION", stage: 2, inputAddress: 0x2008n, intermediateAddress: 0x20_0000_2000 };
    expect(rig.events()).toMatchObject([first, second, first, second, third]);
  });

  it("keeps walks out of Device memory where S2PTW says so", () => {
    for (const protectsWalks of [false, true]) {
      const { rig, above, below, place } = nested({ protectsWalks });
      above.map(0x1000, 0x20_0000_1000);
      below.map(0x20_0000_1000, HOST, 3, { device: true });
      expect(rig.read(0x1000)).toBe(HOST);
      rig.submit(commands.TLBI_S12_VMALL.encode({ VMID: 7 }));
      const table = above.descriptorAt(0x1000, 3);
      below.map(table - (table % 4096), place(table - (table % 4096)), 3, { device: true });
      expect(rig.read(0x1000)).toBe(protectsWalks ? ABORTED : HOST);
      expect(rig.eventNames()).toEqual(protectsWalks ? ["F_PERMISSION"] : []);
    }
  });

  it("tells a CD and a table that do not answer from those that stage 2 does not map", () => {
    const { rig, above, below, context } = nested();
    above.map(0x1000, 0x20_0000_1000);
    const table = above.descriptorAt(0x1000, 3);
    below.map(table - (table % 4096), 0x3000_0000);
    expect(rig.read(0x1000)).toBe(ABORTED);
    rig.submit(commands.TLBI_S12_VMALL.encode({ VMID: 7 }), commands.CFGI_STE.encode({ SID: STREAM, Leaf: 1 }));
    below.map(context - (context % 4096), 0x3000_0000);
    expect(rig.read(0x1000)).toBe(ABORTED);
    expect(rig.events()).toMatchObject([
      { name: "F_WALK_EABT", stage: 1, class: 1, fetchAddress: 0x3000_0000 + (table % 4096) },
      { name: "F_CD_FETCH", fetchAddress: 0x3000_0000 + (context % 4096) },
    ]);
  });

  it("goes on with both stages in one until the virtual address is invalidated", () => {
    const { rig, above, below } = nested();
    above.map(0x1000, 0x20_0000_1000);
    below.map(0x20_0000_1000, HOST);
    expect(rig.read(0x1000)).toBe(HOST);
    below.map(0x20_0000_1000, HOST + 4096);
    rig.submit(commands.TLBI_S2_IPA.encode({ VMID: 7, Address: 0x20_0000_1000 }));
    expect(rig.read(0x1000)).toBe(HOST);
    rig.submit(commands.TLBI_NH_ASID.encode({ VMID: 7, ASID: 1 }));
    expect(rig.read(0x1000)).toBe(HOST + 4096);
  });
});

import { describe, expect, it } from "vitest";
import { commands } from "../../../../src/sim/hw/smmu/commands.js";
import { registers } from "../../../../src/sim/hw/smmu/registers.js";
import { ABORTED } from "../../../../src/sim/hw/smmu/smmu.js";
import { streamConfigs } from "../../../../src/sim/hw/smmu/stream-table-entry.js";
import { type LeafAttributes, PageTables } from "./page-tables.js";
import { Rig, STREAM } from "./rig.js";

const DBM = 1n << 51n;
const AP_READ_ONLY = 1n << 7n;
const S2AP_WRITE = 1n << 7n;
const ACCESS_FLAG = 1n << 10n;
const PAGE = 0x1000;
const OUTPUT = 0x8_0000_0000;

/** Stage 1 with hardware updates, and pages that are writable but clean: read-only with DBM. */
function stage1(cd: { HA?: number; HD?: number } = { HA: 1, HD: 1 }) {
  const rig = new Rig({ updatesTables: true });
  const tables = new PageTables(rig.memory);
  rig.setStage1(STREAM, { TTB0: tables.root, ...cd });
  const clean = (input: number, attributes: LeafAttributes = {}, level = 3) => {
    const at = tables.map(input, OUTPUT + input, level, { write: false, ...attributes });
    tables.store(at, tables.load(at) | DBM);
    return at;
  };
  const isReadOnly = (at: number) => (tables.load(at) & AP_READ_ONLY) !== 0n;
  return { rig, tables, clean, isReadOnly };
}

describe("hardware updates of translation tables", () => {
  it("are in the ID registers where they are implemented", () => {
    const idr0 = ({ smmu }: Rig) => registers.IDR0.decode(smmu.read32(registers.IDR0.offset));
    expect(idr0(new Rig()).HTTU).toBe(0);
    expect(idr0(new Rig({ updatesTables: true })).HTTU).toBe(2);
  });

  it("make a CD with HA or HD illegal where they are not", () => {
    for (const updates of [{ HA: 1 }, { HA: 1, HD: 1 }, { HD: 1 }]) {
      const rig = new Rig();
      rig.setStage1(STREAM, { TTB0: new PageTables(rig.memory).root, ...updates });
      expect(rig.read(0)).toBe(ABORTED);
      expect(rig.eventNames()).toEqual(["C_BAD_CD"]);
    }
  });

  it("mark the first write to a clean page in its descriptor, and let it through", () => {
    const { rig, clean, isReadOnly } = stage1();
    const at = clean(PAGE);
    expect(rig.read(PAGE)).toBe(OUTPUT + PAGE);
    expect(isReadOnly(at)).toBe(true);
    expect(rig.write(PAGE + 8)).toBe(OUTPUT + PAGE + 8);
    expect(isReadOnly(at)).toBe(false);
    expect(rig.events()).toEqual([]);
  });

  it("do not let a write past by what reads have left in the TLB and in front of it", () => {
    const { rig, clean, isReadOnly } = stage1();
    const at = clean(PAGE);
    for (let round = 0; round < 3; round++) rig.read(PAGE);
    const { walks } = rig.smmu.counters;
    expect(rig.write(PAGE)).toBe(OUTPUT + PAGE);
    expect(rig.smmu.counters.walks).toBe(walks + 1);
    expect(isReadOnly(at)).toBe(false);
    // From then on the TLB has it, for both.
    expect([rig.write(PAGE), rig.read(PAGE), rig.write(PAGE)]).toEqual([PAGE, PAGE, PAGE].map((each) => OUTPUT + each));
    expect(rig.smmu.counters.walks).toBe(walks + 1);
  });

  it("do not mark again what the TLB lets through, until it is invalidated", () => {
    const { rig, tables, clean, isReadOnly } = stage1();
    const at = clean(PAGE);
    rig.write(PAGE);
    tables.store(at, tables.load(at) | AP_READ_ONLY);
    expect(rig.write(PAGE)).toBe(OUTPUT + PAGE);
    expect(isReadOnly(at)).toBe(true);
    rig.submit(commands.TLBI_NH_VA.encode({ ASID: 1, Address: BigInt(PAGE), Leaf: 1 }));
    expect(rig.write(PAGE)).toBe(OUTPUT + PAGE);
    expect(isReadOnly(at)).toBe(false);
  });

  it("mark blocks as a whole, and each descriptor of a contiguous range for itself", () => {
    const { rig, tables, clean, isReadOnly } = stage1();
    const block = clean(0x20_0000, {}, 2);
    rig.write(0x20_0000 + 5 * PAGE);
    expect(isReadOnly(block)).toBe(false);
    const range = Array.from({ length: 16 }, (_, index) => clean(0x40_0000 + index * PAGE, { contiguous: true }));
    rig.read(0x40_0000);
    expect(rig.write(0x40_0000 + 3 * PAGE)).toBe(OUTPUT + 0x40_0000 + 3 * PAGE);
    expect(range.map(isReadOnly)).toEqual(range.map((_, index) => index !== 3));
    expect(tables.load(range[3]!) & DBM).toBe(DBM);
  });

  it("leave alone what is read-only for good, or taken away above", () => {
    const { rig, tables, isReadOnly, clean } = stage1();
    const readOnly = tables.map(PAGE, OUTPUT, 3, { write: false });
    expect(rig.write(PAGE)).toBe(ABORTED);
    expect(isReadOnly(readOnly)).toBe(true);
    const below = clean(0x8000_0000);
    const table = tables.descriptorAt(0x8000_0000, 2);
    tables.store(table, tables.load(table) | (1n << 62n));
    expect(rig.write(0x8000_0000)).toBe(ABORTED);
    expect(isReadOnly(below)).toBe(true);
    const privileged = clean(0x20_0000, { privileged: true });
    expect(rig.write(0x20_0000)).toBe(ABORTED);
    expect(isReadOnly(privileged)).toBe(true);
    expect(rig.eventNames()).toEqual(["F_PERMISSION", "F_PERMISSION", "F_PERMISSION"]);
  });

  it("set access flags, instead of a fault, and only those without HD", () => {
    const { rig, tables, clean, isReadOnly } = stage1({ HA: 1 });
    const at = tables.map(PAGE, OUTPUT, 3, { accessFlag: false });
    expect(rig.read(PAGE)).toBe(OUTPUT);
    expect(tables.load(at) & ACCESS_FLAG).toBe(ACCESS_FLAG);
    const other = clean(2 * PAGE);
    expect(rig.write(2 * PAGE)).toBe(ABORTED);
    expect(isReadOnly(other)).toBe(true);
    expect(rig.eventNames()).toEqual(["F_PERMISSION"]);
  });

  it("do not count writes without HA", () => {
    const { rig, clean, isReadOnly } = stage1({ HD: 1 });
    const at = clean(PAGE);
    expect(rig.write(PAGE)).toBe(ABORTED);
    expect(isReadOnly(at)).toBe(true);
  });

  it("mark in stage 2 by making a page writable, too", () => {
    const rig = new Rig({ updatesTables: true });
    const tables = new PageTables(rig.memory, { stage: 2, inputBits: 44 });
    const at = tables.map(PAGE, OUTPUT, 3, { write: false });
    tables.store(at, tables.load(at) | DBM);
    rig.setStage2(STREAM, { S2T0SZ: 20, S2SL0: 2, S2TTB: tables.root, S2HA: 1, S2HD: 1 });
    expect([rig.read(PAGE), rig.read(PAGE)]).toEqual([OUTPUT, OUTPUT]);
    expect(tables.load(at) & S2AP_WRITE).toBe(0n);
    expect(rig.write(PAGE)).toBe(OUTPUT);
    expect(tables.load(at) & S2AP_WRITE).toBe(S2AP_WRITE);
    expect(rig.events()).toEqual([]);
  });

  it("mark in stage 2 what stage 1 lets through", () => {
    const rig = new Rig({ updatesTables: true });
    const stage2 = new PageTables(rig.memory, { stage: 2, inputBits: 44 });
    const tables = new PageTables(rig.memory);
    tables.map(PAGE, 0x5000);
    const at = stage2.map(0x5000, OUTPUT, 3, { write: false });
    stage2.store(at, stage2.load(at) | DBM);
    const context = rig.memory.reserve(64)!;
    const own = [context, ...[0, 1, 2, 3].map((level) => tables.descriptorAt(PAGE, level))];
    for (const page of new Set(own.map((address) => address - (address % PAGE)))) stage2.map(page, page);
    const nested = { Config: streamConfigs.NESTED, S2AA64: 1, S2R: 1, S2PS: 5, S2T0SZ: 20, S2SL0: 2, S2VMID: 1 };
    rig.setStage1(STREAM, { TTB0: tables.root }, { ...nested, S2HA: 1, S2HD: 1, S2TTB: stage2.root }, context);
    expect([rig.read(PAGE), rig.read(PAGE)]).toEqual([OUTPUT, OUTPUT]);
    expect(stage2.load(at) & S2AP_WRITE).toBe(0n);
    expect([rig.write(PAGE), rig.write(PAGE)]).toEqual([OUTPUT, OUTPUT]);
    expect(stage2.load(at) & S2AP_WRITE).toBe(S2AP_WRITE);
    expect(rig.events()).toEqual([]);
  });

  it("write to stage 1's tables through stage 2, which may forbid it", () => {
    for (const write of [true, false]) {
      const rig = new Rig({ updatesTables: true });
      const stage2 = new PageTables(rig.memory, { stage: 2, inputBits: 44 });
      const tables = new PageTables(rig.memory);
      const at = tables.map(PAGE, 0x5000, 3, { write: false });
      tables.store(at, tables.load(at) | DBM);
      const pages = new Set<number>();
      // Stage 2 maps all of memory onto itself; where the leaf lies it may be read-only.
      const identity = (address: number, attributes: LeafAttributes = {}) => {
        const page = address - (address % PAGE);
        if (!pages.has(page)) stage2.map(page, page, 3, attributes);
        pages.add(page);
      };
      identity(at, { write });
      for (let level = 0; level < 3; level++) identity(tables.descriptorAt(PAGE, level));
      const context = rig.memory.reserve(64)!;
      identity(context);
      identity(0x5000);
      const nested = { Config: streamConfigs.NESTED, S2AA64: 1, S2R: 1, S2PS: 5, S2T0SZ: 20, S2SL0: 2, S2VMID: 1 };
      rig.setStage1(STREAM, { TTB0: tables.root, HA: 1, HD: 1 }, { ...nested, S2TTB: stage2.root }, context);
      expect(rig.read(PAGE)).toBe(0x5000);
      expect(rig.write(PAGE)).toBe(write ? 0x5000 : ABORTED);
      expect((tables.load(at) & AP_READ_ONLY) === 0n).toBe(write);
    }
  });
});

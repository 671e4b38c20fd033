import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { commands } from "../../../../src/sim/hw/smmu/commands.js";
import type { SmmuFeatures } from "../../../../src/sim/hw/smmu/smmu.js";
import { PageTables } from "./page-tables.js";
import { Rig, STREAM } from "./rig.js";

const OLD = 0x5000_0000;
const NEW = 0x6000_0000;
const PAGE = 4096;

/** One stream whose pages are all in the TLB, and all changed in memory since. */
function stale(pages: number, features: Partial<SmmuFeatures> = {}, global = false) {
  const rig = new Rig(features);
  const tables = new PageTables(rig.memory);
  rig.setStage1(STREAM, { TTB0: tables.root, ASID: 3 }, { S2VMID: 9 });
  const address = (page: number) => 0x1_0000_0000 + page * PAGE;
  for (let page = 0; page < pages; page++) {
    tables.map(address(page), OLD + page * PAGE, 3, { global });
    rig.read(address(page));
    tables.map(address(page), NEW + page * PAGE, 3, { global });
  }
  const isStale = (page: number) => {
    const target = rig.read(address(page)) - page * PAGE;
    expect([OLD, NEW]).toContain(target);
    return target === OLD;
  };
  return { rig, tables, address, isStale };
}

const va = (page: number) => 0x1_0000_0000n + BigInt(page) * 4096n;
const NAMES = { VMID: 9, ASID: 3 };

describe("TLB entries", () => {
  it("outlive every change of the tables until a command takes them", () => {
    const { rig, isStale } = stale(2);
    rig.submit(commands.SYNC.encode({}), commands.CFGI_STE_RANGE.encode({ Range: 31 }));
    expect([isStale(0), isStale(1)]).toEqual([true, true]);
    rig.submit(commands.TLBI_NH_VA.encode({ ...NAMES, Address: va(0) }));
    expect([isStale(0), isStale(1)]).toEqual([false, true]);
  });

  it("make room, the oldest first", () => {
    const { isStale } = stale(9, { tlbEntries: 8 });
    expect(isStale(8)).toBe(true);
    expect(isStale(1)).toBe(true);
    expect(isStale(0)).toBe(false);
    // Which took the place of page 1.
    expect(isStale(1)).toBe(false);
    expect(isStale(3)).toBe(true);
  });

  it.each([
    ["the address, ASID and VMID", commands.TLBI_NH_VA.encode({ ...NAMES, Address: va(0) }), [false, true]],
    ["the address with another ASID", commands.TLBI_NH_VA.encode({ VMID: 9, ASID: 4, Address: va(0) }), [true, true]],
    ["the address with another VMID", commands.TLBI_NH_VA.encode({ VMID: 8, ASID: 3, Address: va(0) }), [true, true]],
    ["the address for all ASIDs", commands.TLBI_NH_VAA.encode({ VMID: 9, Address: va(1) }), [true, false]],
    ["the address for all ASIDs of another VMID", commands.TLBI_NH_VAA.encode({ Address: va(1) }), [true, true]],
    ["the ASID", commands.TLBI_NH_ASID.encode(NAMES), [false, false]],
    ["another ASID", commands.TLBI_NH_ASID.encode({ VMID: 9, ASID: 4 }), [true, true]],
    ["the ASID of another VMID", commands.TLBI_NH_ASID.encode({ ASID: 3 }), [true, true]],
    ["the VMID's stage 1", commands.TLBI_NH_ALL.encode({ VMID: 9 }), [false, false]],
    ["another VMID's stage 1", commands.TLBI_NH_ALL.encode({ VMID: 1 }), [true, true]],
    ["the VMID", commands.TLBI_S12_VMALL.encode({ VMID: 9 }), [false, false]],
    ["another VMID", commands.TLBI_S12_VMALL.encode({ VMID: 1 }), [true, true]],
    ["everything that is not EL2's", commands.TLBI_NSNH_ALL.encode({}), [false, false]],
    ["EL2", commands.TLBI_EL2_ALL.encode({}), [true, true]],
    ["the intermediate address", commands.TLBI_S2_IPA.encode({ VMID: 9, Address: Number(va(0)) }), [true, true]],
    [
      "the other half's address",
      commands.TLBI_NH_VA.encode({ ...NAMES, Address: va(0) | (0xfffn << 52n) }),
      [true, true],
    ],
  ])("go with a command for %s", (_, command, remaining) => {
    const { rig, isStale } = stale(2, { hypervisor: true });
    rig.submit(command);
    expect([isStale(0), isStale(1)]).toEqual(remaining);
  });

  it("that are global go by address with any ASID, and not by ASID", () => {
    const { rig, isStale } = stale(2, {}, true);
    rig.submit(commands.TLBI_NH_ASID.encode(NAMES));
    expect([isStale(0), isStale(1)]).toEqual([true, true]);
    rig.submit(commands.TLBI_NH_VA.encode({ VMID: 9, ASID: 77, Address: va(0) }));
    expect([isStale(0), isStale(1)]).toEqual([false, true]);
    rig.submit(commands.TLBI_NH_ALL.encode({ VMID: 9 }));
    expect(isStale(1)).toBe(false);
  });

  it("are shared by streams with the same ASID and VMID; global ones, by those with the same VMID", () => {
    for (const global of [false, true]) {
      const { rig, tables, address } = stale(1, {}, global);
      const at = rig.memory.reserve(128)!;
      rig.setStage1(STREAM + 1, { TTB0: tables.root, ASID: 3 }, { S2VMID: 9 }, at);
      rig.setStage1(STREAM + 2, { TTB0: tables.root, ASID: 4 }, { S2VMID: 9 }, at + 64);
      expect(rig.read(address(0), STREAM + 1)).toBe(OLD);
      expect(rig.read(address(0), STREAM + 2)).toBe(global ? OLD : NEW);
    }
  });

  it("have no VMID where there is no stage 2", () => {
    const { rig, isStale } = stale(1, { stage2: false });
    rig.submit(commands.TLBI_NH_ASID.encode({ ASID: 3 }));
    expect(isStale(0)).toBe(false);
  });

  it("of a block or contiguous range go whole", () => {
    const rig = new Rig();
    const tables = new PageTables(rig.memory);
    rig.setStage1(STREAM, { TTB0: tables.root });
    const block = 2 ** 21;
    tables.map(0, OLD, 2);
    tables.mapContiguous(block, OLD + block, 3);
    expect([rig.read(5), rig.read(block + 5)]).toEqual([OLD + 5, OLD + block + 5]);
    expect(rig.smmu.tlbSize).toBe(2);
    expect([rig.read(block - 1), rig.read(block + 65535)]).toEqual([OLD + block - 1, OLD + block + 65535]);
    expect(rig.smmu.counters.walks).toBe(2);
    rig.submit(commands.TLBI_NH_VA.encode({ ASID: 1, Address: 0x1f_f000n }));
    expect(rig.smmu.tlbSize).toBe(1);
    rig.submit(commands.TLBI_NH_VA.encode({ ASID: 1, Address: BigInt(block) + 0x7000n }));
    expect(rig.smmu.tlbSize).toBe(0);
  });

  it("go by range exactly as far as NUM and SCALE say", () => {
    fc.assert(
      fc.property(fc.nat(31), fc.nat(3), fc.nat(40), (NUM, SCALE, first) => {
        const { rig, isStale } = stale(48);
        const isReserved = NUM === 0 && SCALE === 0;
        const TTL = isReserved ? 3 : 0;
        rig.submit(commands.TLBI_NH_VA.encode({ ...NAMES, NUM, SCALE, TG: 1, TTL, Address: va(first), Leaf: 1 }));
        const last = first + (NUM + 1) * 2 ** SCALE;
        for (let page = 0; page < 48; page++) expect(isStale(page)).toBe(page < first || page >= last);
      }),
      { numRuns: 50 },
    );
  });

  it("go by range only if level and granule are those of the command", () => {
    const { rig, isStale } = stale(4);
    rig.submit(commands.TLBI_NH_VA.encode({ ...NAMES, NUM: 3, TG: 1, TTL: 2, Address: va(0) }));
    rig.submit(commands.TLBI_NH_VA.encode({ ...NAMES, NUM: 3, TG: 3, Address: va(0) }));
    expect([0, 1, 2, 3].map(isStale)).toEqual([true, true, true, true]);
    rig.submit(commands.TLBI_NH_VA.encode({ ...NAMES, NUM: 3, TG: 1, TTL: 3, Address: va(0) }));
    expect([0, 1, 2, 3].map(isStale)).toEqual([false, false, false, false]);
  });

  it("go one at a time where ranges are not implemented", () => {
    const { rig, isStale } = stale(4, { rangeInvalidation: false });
    rig.submit(commands.TLBI_NH_VA.encode({ ...NAMES, NUM: 3, TG: 1, TTL: 2, Address: va(1) }));
    expect([0, 1, 2, 3].map(isStale)).toEqual([true, false, true, true]);
  });

  it("of stage 2 go by intermediate address", () => {
    const rig = new Rig();
    const tables = new PageTables(rig.memory, { stage: 2 });
    rig.setStage2(STREAM, { S2T0SZ: 16, S2SL0: 2, S2TTB: tables.root, S2VMID: 5 });
    for (let page = 0; page < 8; page++) tables.map(page * PAGE, OLD + page * PAGE);
    const fill = () => [0, 1, 2, 3, 4, 5, 6, 7].map((page) => rig.read(page * PAGE));
    const before = fill();
    for (let page = 0; page < 8; page++) tables.map(page * PAGE, NEW + page * PAGE);
    rig.submit(commands.TLBI_S2_IPA.encode({ VMID: 4, Address: 0 }));
    rig.submit(commands.TLBI_NH_ALL.encode({ VMID: 5 }));
    expect(fill()).toEqual(before);
    rig.submit(commands.TLBI_S2_IPA.encode({ VMID: 5, Address: 0x2000, NUM: 1, SCALE: 1, TG: 1, TTL: 3 }));
    expect(fill().map((address) => address < NEW)).toEqual([true, true, false, false, false, false, true, true]);
    rig.submit(commands.TLBI_S12_VMALL.encode({ VMID: 5 }));
    expect(fill().some((address) => address < NEW)).toBe(false);
  });

  it("of EL2 with E2H have ASIDs", () => {
    const rig = new Rig({ hypervisor: true });
    rig.disable();
    rig.smmu.write32(0x2c, 1);
    rig.enable();
    const tables = new PageTables(rig.memory);
    tables.map(0x1000, OLD);
    rig.setStage1(STREAM, { TTB0: tables.root, ASID: 3 }, { STRW: 2 });
    expect(rig.read(0x1000)).toBe(OLD);
    const others = [
      commands.TLBI_NH_ASID.encode({ ASID: 3 }),
      commands.TLBI_EL2_ASID.encode({ ASID: 4 }),
      commands.TLBI_EL2_VA.encode({ ASID: 4, Address: 0x1000n }),
    ];
    rig.submit(...others);
    expect(rig.smmu.tlbSize).toBe(1);
    const own = [
      commands.TLBI_EL2_VA.encode({ ASID: 3, Address: 0x1000n }),
      commands.TLBI_EL2_VAA.encode({ Address: 0x1000n }),
      commands.TLBI_EL2_ASID.encode({ ASID: 3 }),
      commands.TLBI_EL2_ALL.encode({}),
    ];
    for (const command of own) {
      rig.read(0x1000);
      expect(rig.smmu.tlbSize).toBe(1);
      rig.submit(command);
      expect(rig.smmu.tlbSize).toBe(0);
    }
  });
});

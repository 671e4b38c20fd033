import { describe, expect, it } from "vitest";
import { wordsToBytes } from "../../../../src/sim/hw/smmu/bit-fields.js";
import { commands } from "../../../../src/sim/hw/smmu/commands.js";
import { contextTableLink } from "../../../../src/sim/hw/smmu/context-descriptor.js";
import { registers } from "../../../../src/sim/hw/smmu/registers.js";
import { ABORTED } from "../../../../src/sim/hw/smmu/smmu.js";
import { streamConfigs, streamTableLink } from "../../../../src/sim/hw/smmu/stream-table-entry.js";
import { PageTables } from "./page-tables.js";
import { Rig, STREAM } from "./rig.js";

const { ABORT, BYPASS, STAGE_1, STAGE_2, NESTED } = streamConfigs;

function mapped(rig: Rig): PageTables {
  const tables = new PageTables(rig.memory);
  tables.map(0x1000, 0x5000_0000);
  return tables;
}

describe("an SMMU that is disabled", () => {
  it("lets everything pass, or aborts it, as GBPA says, and records nothing", () => {
    const rig = new Rig({ outputBits: 40 });
    rig.disable();
    expect(rig.read(0x1234)).toBe(0x1234);
    expect(rig.smmu.reach).toBe(2 ** 40 - 0x1234);
    expect(rig.read(2 ** 40)).toBe(ABORTED);
    rig.smmu.write32(registers.GBPA.offset, registers.GBPA.encode({ ABORT: 1 }));
    expect(rig.read(0x1234)).toBe(0x1234);
    rig.smmu.write32(registers.GBPA.offset, registers.GBPA.encode({ ABORT: 1, UPDATE: 1, SHCFG: 1 }));
    expect(registers.GBPA.decode(rig.smmu.read32(registers.GBPA.offset))).toMatchObject({ ABORT: 1, UPDATE: 0 });
    expect(rig.read(0x1234)).toBe(ABORTED);
    rig.enable();
    expect(rig.events()).toEqual([]);
  });

  it("does not go on with translations from before", () => {
    const rig = new Rig();
    rig.setStage1(STREAM, { TTB0: mapped(rig).root });
    expect([rig.read(0x1000), rig.read(0x1000)]).toEqual([0x5000_0000, 0x5000_0000]);
    rig.disable();
    expect(rig.read(0x1000)).toBe(0x1000);
  });
});

describe("stream table", () => {
  it("aborts in silence, bypasses, and aborts what has no valid STE with an event", () => {
    const rig = new Rig({ outputBits: 40 });
    rig.setSte(1, { V: 1, Config: ABORT });
    rig.setSte(2, { V: 1, Config: 3 });
    rig.setSte(3, { V: 1, Config: BYPASS });
    expect([rig.read(0x1000, 1), rig.read(0x1000, 2)]).toEqual([ABORTED, ABORTED]);
    expect(rig.write(0x1000, 3)).toBe(0x1000);
    expect(rig.smmu.reach).toBe(2 ** 40 - 0x1000);
    expect(rig.events()).toEqual([]);
    expect(rig.read(2 ** 40 + 8, 3)).toBe(ABORTED);
    expect(rig.read(0x1000, 4)).toBe(ABORTED);
    const events = rig.events();
    expect(events).toMatchObject([
      { name: "F_ADDR_SIZE", stage: 1, class: 2, inputAddress: 2n ** 40n + 8n, read: true },
      { name: "C_BAD_STE", streamId: 4, substreamId: undefined },
    ]);
    expect(events[1]?.words).toEqual([0x0000_0004_0000_0004n, 0n, 0n, 0n]);
  });

  it("ends where LOG2SIZE says, and at what StreamIDs there are", () => {
    const rig = new Rig({ streamIdBits: 8 });
    rig.setSte(255, { V: 1, Config: BYPASS });
    expect(rig.read(0, 255)).toBe(0);
    expect(rig.read(0, 256)).toBe(ABORTED);
    expect(rig.events()[0]?.words).toEqual([0x0000_0100_0000_0002n, 0n, 0n, 0n]);
    rig.disable();
    rig.smmu.write32(registers.STRTAB_BASE_CFG.offset, registers.STRTAB_BASE_CFG.encode({ LOG2SIZE: 4 }));
    rig.enable();
    expect(rig.read(0, 16)).toBe(ABORTED);
    expect(rig.eventNames()).toEqual(["C_BAD_STREAMID"]);
  });

  it("reports bad StreamIDs only with RECINVSID", () => {
    const rig = new Rig();
    rig.disable();
    rig.smmu.write32(registers.CR2.offset, 0);
    rig.enable();
    expect(rig.read(0, 0xffff)).toBe(ABORTED);
    expect(rig.events()).toEqual([]);
  });

  it("says where an STE is that does not answer", () => {
    const rig = new Rig();
    rig.disable();
    rig.smmu.write64(registers.STRTAB_BASE.offset, 0x3000_0000n);
    rig.enable();
    expect(rig.read(0x1000, 5)).toBe(ABORTED);
    expect(rig.events()).toMatchObject([{ name: "F_STE_FETCH", streamId: 5, fetchAddress: 0x3000_0140 }]);
  });

  it.each([6, 8, 10])("has two levels that split at bit %i", (split) => {
    const rig = new Rig();
    const { memory, smmu } = rig;
    const first = memory.reserve(4096)!;
    const second = memory.reserve(64 << split, 64 << split)!;
    const link = (index: number, Span: number, L2Ptr = second) =>
      memory.write(first + index * 8, wordsToBytes(streamTableLink.encode({ Span, L2Ptr })));
    rig.disable();
    smmu.write64(registers.STRTAB_BASE.offset, BigInt(first));
    const format = registers.STRTAB_BASE_CFG.encode({ LOG2SIZE: 14, SPLIT: split, FMT: 1 });
    smmu.write32(registers.STRTAB_BASE_CFG.offset, format);
    rig.enable();
    const id = 3 * 2 ** split;
    link(3, 4);
    rig.memory.write(second + 7 * 64, wordsToBytes([9n, 0n, 0n, 0n, 0n, 0n, 0n, 0n]));
    expect(rig.read(0x1000, id + 7)).toBe(0x1000);
    // Not in the span of 8; no span; a span that the split has no room for; a reserved one; past LOG2SIZE.
    expect(rig.read(0, id + 8)).toBe(ABORTED);
    expect(rig.read(0, 0)).toBe(ABORTED);
    link(4, split + 2);
    link(5, 12);
    expect([rig.read(0, 4 * 2 ** split), rig.read(0, 5 * 2 ** split), rig.read(0, 2 ** 14)]).toEqual([
      ABORTED,
      ABORTED,
      ABORTED,
    ]);
    expect(rig.eventNames()).toEqual(new Array(5).fill("C_BAD_STREAMID"));
    link(6, 3, 0x3000_0000);
    expect(rig.read(0, 6 * 2 ** split + 1)).toBe(ABORTED);
    rig.disable();
    smmu.write64(registers.STRTAB_BASE.offset, 0x3000_0000n);
    rig.enable();
    expect(rig.read(0, 7 * 2 ** split)).toBe(ABORTED);
    expect(rig.events()).toMatchObject([
      { name: "F_STE_FETCH", fetchAddress: 0x3000_0040 },
      { name: "F_STE_FETCH", fetchAddress: 0x3000_0038 },
    ]);
  });

  it("is linear where two levels are not implemented, whatever FMT says", () => {
    const rig = new Rig({ twoLevelStreamTable: false });
    rig.disable();
    const format = registers.STRTAB_BASE_CFG.encode({ LOG2SIZE: 9, SPLIT: 6, FMT: 1 });
    rig.smmu.write32(registers.STRTAB_BASE_CFG.offset, format);
    rig.enable();
    rig.setSte(70, { V: 1, Config: BYPASS });
    expect(rig.read(0x1000, 70)).toBe(0x1000);
  });
});

describe("STE", () => {
  const stage2 = { S2AA64: 1, S2T0SZ: 20, S2SL0: 2, S2TG: 0, S2PS: 4, S2R: 1 };

  it.each([
    ["without stage 1", { stage1: false }, { Config: STAGE_1 }],
    ["without stage 2", { stage2: false }, { Config: STAGE_2, ...stage2 }],
    ["nested without stage 2", { stage2: false }, { Config: NESTED, ...stage2 }],
    ["S1STALLD without a stall model", {}, { Config: STAGE_1, S1STALLD: 1 }],
    ["S2S without a stall model", {}, { Config: STAGE_2, ...stage2, S2S: 1 }],
    ["32-bit descriptors", {}, { Config: STAGE_2, ...stage2, S2AA64: 0 }],
    ["big-endian tables", {}, { Config: STAGE_2, ...stage2, S2ENDI: 1 }],
    ["hardware updates", {}, { Config: STAGE_2, ...stage2, S2HA: 1 }],
    ["a reserved granule", {}, { Config: STAGE_2, ...stage2, S2TG: 3 }],
    ["a granule that is not implemented", { granules: [4096] as const }, { Config: STAGE_2, ...stage2, S2TG: 1 }],
    ["more input than there are addresses", { outputBits: 40 as const }, { Config: STAGE_2, ...stage2 }],
    ["too little input", {}, { Config: STAGE_2, ...stage2, S2T0SZ: 40, S2SL0: 0 }],
    ["a reserved first level", {}, { Config: STAGE_2, ...stage2, S2SL0: 3 }],
    ["more than 16 tables side by side", {}, { Config: STAGE_2, ...stage2, S2SL0: 1 }],
    ["a first table without an entry", {}, { Config: STAGE_2, ...stage2, S2T0SZ: 25 }],
    ["a level that only large addresses have", { outputBits: 42 as const }, { Config: STAGE_2, ...stage2, S2T0SZ: 22 }],
    ["a table beyond S2PS", {}, { Config: STAGE_2, ...stage2, S2PS: 0, S2TTB: 2 ** 32 }],
    ["a VMID of more than 8 bits", { vmidBits: 8 as const }, { Config: STAGE_2, ...stage2, S2VMID: 256 }],
    ["a reserved stream world", { hypervisor: true }, { Config: STAGE_1, STRW: 1 }],
    ["more CDs than SubstreamIDs", { substreamIdBits: 4 }, { Config: STAGE_1, S1CDMax: 5 }],
  ])("is refused for %s", (_, features, ste) => {
    const rig = new Rig(features);
    rig.setSte(STREAM, { V: 1, ...ste });
    expect(rig.read(0x1000)).toBe(ABORTED);
    expect(rig.eventNames()).toEqual(["C_BAD_STE"]);
  });

  it("passes with what these have in order", () => {
    const rig = new Rig();
    rig.setSte(STREAM, { V: 1, Config: STAGE_2, ...stage2, S2TTB: rig.memory.reserve(4096)! });
    expect(rig.read(0x1000)).toBe(ABORTED);
    expect(rig.eventNames()).toEqual(["F_TRANSLATION"]);
  });

  it("ignores the fields of the stage that it leaves out", () => {
    const rig = new Rig();
    rig.setStage1(STREAM, { TTB0: mapped(rig).root }, { S2S: 1, S2HA: 1, S2TG: 3 });
    expect(rig.read(0x1000)).toBe(0x5000_0000);
  });

  it.each([
    ["terminates traffic without one", 0, "F_STREAM_DISABLED"],
    ["and for the reserved value", 3, "F_STREAM_DISABLED"],
  ])("with substreams %s", (_, S1DSS, event) => {
    const rig = new Rig({ substreamIdBits: 4 });
    rig.setStage1(STREAM, { TTB0: mapped(rig).root }, { S1CDMax: 4, S1DSS });
    expect(rig.read(0x1000)).toBe(ABORTED);
    expect(rig.eventNames()).toEqual([event]);
  });

  it("with substreams lets traffic without one pass, or gives it the first CD", () => {
    const rig = new Rig({ substreamIdBits: 4 });
    rig.setStage1(STREAM, { TTB0: mapped(rig).root }, { S1CDMax: 4, S1DSS: 1 });
    expect(rig.read(0x1000)).toBe(0x1000);
    rig.setStage1(STREAM, { TTB0: mapped(rig).root }, { S1CDMax: 4, S1DSS: 2 });
    expect(rig.read(0x1000)).toBe(0x5000_0000);
  });

  it("finds CDs through two levels", () => {
    const rig = new Rig({ substreamIdBits: 8 });
    const first = rig.memory.reserve(4096)!;
    const second = rig.memory.reserve(4096)!;
    const two = { S1CDMax: 8, S1Fmt: 1, S1ContextPtr: first };
    rig.setStage1(STREAM, { TTB0: mapped(rig).root }, two, second);
    expect(rig.read(0x1000)).toBe(ABORTED);
    rig.memory.write(first, wordsToBytes(contextTableLink.encode({ V: 1, L2Ptr: second })));
    expect(rig.read(0x1000)).toBe(0x5000_0000);
    expect(rig.eventNames()).toEqual(["C_BAD_SUBSTREAMID"]);
  });
});

describe("CD", () => {
  it.each([
    ["V", {}, { V: 0 }],
    ["32-bit descriptors", {}, { AA64: 0 }],
    ["T0SZ too small", {}, { T0SZ: 15 }],
    ["T0SZ of 52 bits with small pages", { largeInput: true }, { T0SZ: 12 }],
    ["T0SZ too large", {}, { T0SZ: 40 }],
    ["a reserved granule", {}, { TG0: 3 }],
    ["a granule that is not implemented", { granules: [4096] as const }, { TG0: 2 }],
    ["the reserved TG1", {}, { EPD1: 0, T1SZ: 16, TG1: 0 }],
    ["T1SZ", {}, { EPD1: 0, T1SZ: 0, TG1: 2 }],
    ["big-endian tables", {}, { ENDI: 1 }],
    ["hardware updates", {}, { HA: 1 }],
    ["hardware updates of dirty state", {}, { HD: 1 }],
    ["stalling", {}, { S: 1 }],
    ["termination without an abort", {}, { A: 0 }],
    ["a table beyond IPS", {}, { IPS: 0, TTB0: 2 ** 32 }],
    ["an ASID of more than 8 bits", { asidBits: 8 as const }, { ASID: 256 }],
  ])("is refused for %s", (_, features, cd) => {
    const rig = new Rig(features);
    rig.setStage1(STREAM, { TTB0: mapped(rig).root, ...cd });
    expect(rig.read(0x1000)).toBe(ABORTED);
    const events = rig.events();
    expect(events).toMatchObject([{ name: "C_BAD_CD" }]);
    expect(events[0]?.words).toEqual([0x0000_0100_0000_000an, 0n, 0n, 0n]);
  });

  it("ignores the fields of a half that is disabled", () => {
    const rig = new Rig();
    rig.setStage1(STREAM, { TTB0: mapped(rig).root, EPD1: 1, T1SZ: 0, TG1: 0 });
    expect(rig.read(0x1000)).toBe(0x5000_0000);
    rig.setStage1(STREAM, { EPD0: 1, EPD1: 1, T0SZ: 0, TG0: 3, ENDI: 1 });
    rig.submit(commands.TLBI_NSNH_ALL.encode({}));
    expect(rig.read(0x1000)).toBe(ABORTED);
    expect(rig.eventNames()).toEqual(["F_TRANSLATION"]);
  });

  it("says where it is when it does not answer", () => {
    const rig = new Rig();
    rig.setSte(STREAM, { V: 1, Config: STAGE_1, S1ContextPtr: 0x3000_0040 });
    expect(rig.read(0x1000)).toBe(ABORTED);
    expect(rig.events()).toMatchObject([{ name: "F_CD_FETCH", streamId: STREAM, fetchAddress: 0x3000_0040 }]);
  });
});

describe("configuration caches", () => {
  it("hold an STE, valid or not, until it is invalidated", () => {
    const rig = new Rig();
    expect(rig.read(0x1000, 1)).toBe(ABORTED);
    rig.writeSte(1, { V: 1, Config: BYPASS });
    expect(rig.read(0x1000, 1)).toBe(ABORTED);
    rig.submit(commands.CFGI_STE.encode({ SID: 2, Leaf: 1 }));
    expect(rig.read(0x1000, 1)).toBe(ABORTED);
    rig.submit(commands.CFGI_STE.encode({ SID: 1, Leaf: 1 }));
    expect(rig.read(0x1000, 1)).toBe(0x1000);
    rig.writeSte(1, { V: 1, Config: ABORT });
    expect(rig.read(0x1000, 1)).toBe(0x1000);
    rig.submit(commands.CFGI_STE_RANGE.encode({ SID: 0x1f0, Range: 3 }));
    expect(rig.read(0x1000, 1)).toBe(0x1000);
    rig.submit(commands.CFGI_STE_RANGE.encode({ SID: 15, Range: 3 }));
    expect(rig.read(0x1000, 1)).toBe(ABORTED);
    rig.writeSte(1, { V: 1, Config: BYPASS });
    rig.submit(commands.CFGI_STE_RANGE.encode({ SID: 0xffff_ffff, Range: 31 }));
    expect(rig.read(0x1000, 1)).toBe(0x1000);
  });

  it("hold a CD for each stream, until it, its stream or all of its stream's CDs are invalidated", () => {
    const rig = new Rig();
    const [one, other] = [mapped(rig), new PageTables(rig.memory)];
    other.map(0x1000, 0x6000_0000);
    const pick = (tables: PageTables) =>
      rig.writeCd({ V: 1, AA64: 1, T0SZ: 16, EPD1: 1, IPS: 5, R: 1, A: 1, TTB0: tables.root });
    rig.setStage1(STREAM, {});
    rig.setStage1(STREAM + 1, {});
    pick(one);
    const read = (streamId: number) => {
      rig.submit(commands.TLBI_NSNH_ALL.encode({}));
      return rig.read(0x1000, streamId);
    };
    expect([read(STREAM), read(STREAM + 1)]).toEqual([0x5000_0000, 0x5000_0000]);
    pick(other);
    expect(read(STREAM)).toBe(0x5000_0000);
    rig.submit(commands.CFGI_CD.encode({ SID: STREAM, SSID: 1, SSV: 1, Leaf: 1 }));
    expect(read(STREAM)).toBe(0x5000_0000);
    rig.submit(commands.CFGI_CD.encode({ SID: STREAM, Leaf: 1 }));
    expect([read(STREAM), read(STREAM + 1)]).toEqual([0x6000_0000, 0x5000_0000]);
    rig.submit(commands.CFGI_CD_ALL.encode({ SID: STREAM + 1 }));
    expect(read(STREAM + 1)).toBe(0x6000_0000);
    pick(one);
    rig.submit(commands.CFGI_STE.encode({ SID: STREAM, Leaf: 1 }));
    expect([read(STREAM), read(STREAM + 1)]).toEqual([0x5000_0000, 0x6000_0000]);
  });

  it("keep streams apart, however often one was used", () => {
    const rig = new Rig();
    const [one, other] = [mapped(rig), new PageTables(rig.memory)];
    other.map(0x1000, 0x6000_0000);
    rig.setStage1(STREAM, { TTB0: one.root, ASID: 1 });
    rig.setStage1(0, { TTB0: other.root, ASID: 2 }, {}, rig.memory.reserve(64)!);
    for (let round = 0; round < 3; round++) expect(rig.read(0x1000)).toBe(0x5000_0000);
    for (let streamId = 1; streamId < 512; streamId++) {
      if (streamId !== STREAM) expect(rig.read(0x1000, streamId)).toBe(ABORTED);
    }
    for (let round = 0; round < 3; round++) {
      expect([rig.read(0x1000, 0), rig.read(0x1000)]).toEqual([0x6000_0000, 0x5000_0000]);
    }
  });

  it("have translations found anew when they let go of something, however often those were used", () => {
    const rig = new Rig();
    const [one, other] = [mapped(rig), new PageTables(rig.memory)];
    other.map(0x1000, 0x6000_0000);
    rig.setStage1(STREAM, { TTB0: one.root, ASID: 1 });
    const read = () => [rig.read(0x1000), rig.read(0x1000), rig.read(0x1000)];
    expect(read()).toEqual([0x5000_0000, 0x5000_0000, 0x5000_0000]);
    rig.writeCd({ V: 1, AA64: 1, T0SZ: 16, EPD1: 1, IPS: 5, R: 1, A: 1, ASID: 2, TTB0: other.root });
    expect(rig.read(0x1000)).toBe(0x5000_0000);
    rig.submit(commands.CFGI_CD.encode({ SID: STREAM, Leaf: 1 }));
    expect(read()).toEqual([0x6000_0000, 0x6000_0000, 0x6000_0000]);
    rig.writeSte(STREAM, { V: 1, Config: ABORT });
    expect(rig.read(0x1000)).toBe(0x6000_0000);
    rig.submit(commands.CFGI_STE.encode({ SID: STREAM, Leaf: 1 }));
    expect(read()).toEqual([ABORTED, ABORTED, ABORTED]);
  });
});

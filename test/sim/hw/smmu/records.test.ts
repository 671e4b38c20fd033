import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type BitField,
  type BitFields,
  bytesToWords,
  type RecordLayout,
  rawBits,
  wordsToBytes,
} from "../../../../src/sim/hw/smmu/bit-fields.js";
import { commands } from "../../../../src/sim/hw/smmu/commands.js";
import { contextDescriptor, contextTableLink } from "../../../../src/sim/hw/smmu/context-descriptor.js";
import { decodeEvent, eventIds, eventRecord, fetchEventRecord } from "../../../../src/sim/hw/smmu/events.js";
import {
  descriptorAddress,
  descriptorAddressHigh,
  descriptorAddressLow,
  firstLevel,
  stage1Leaf,
  stage2Leaf,
  tableDescriptor,
  tableShape,
} from "../../../../src/sim/hw/smmu/page-descriptor.js";
import { streamTableEntry, streamTableLink } from "../../../../src/sim/hw/smmu/stream-table-entry.js";

const layouts: readonly RecordLayout<BitFields>[] = [
  streamTableEntry,
  streamTableLink,
  contextDescriptor,
  contextTableLink,
  eventRecord,
  fetchEventRecord,
  stage1Leaf,
  stage2Leaf,
  tableDescriptor,
  ...Object.values(commands),
] as unknown as RecordLayout<BitFields>[];

/** Arbitrary values of all fields but a command's opcode, which encoding fills in. */
function values(layout: RecordLayout<BitFields>): fc.Arbitrary<Record<string, number | bigint>> {
  const fields = Object.entries(layout.fields).filter(([name]) => name !== "Opcode");
  return fc.record(Object.fromEntries(fields.map(([name, field]) => [name, arbitraryFor(field)])));
}

function arbitraryFor({ width, shift, wide }: BitField): fc.Arbitrary<number | bigint> {
  const raw = fc.bigInt({ min: 0n, max: 2n ** BigInt(width) - 1n }).map((value) => value << BigInt(shift));
  return wide ? raw : raw.map(Number);
}

describe("records", () => {
  it("decode to what they were encoded from, as words and as bytes", () => {
    for (const layout of layouts) {
      fc.assert(
        fc.property(values(layout), (all) => {
          const words = layout.encode(all);
          expect(words.length * 8).toBe(layout.size);
          expect(layout.decode(words)).toMatchObject(all);
          expect(bytesToWords(wordsToBytes(words))).toEqual(words);
        }),
        { numRuns: 20 },
      );
    }
  });

  it("have fields that do not overlap and lie in one word each", () => {
    for (const { name, size, fields } of layouts) {
      const bits = new Set<number>();
      for (const [field, { low, width }] of Object.entries(fields)) {
        expect(Math.floor(low / 64), `${name}.${field}`).toBe(Math.floor((low + width - 1) / 64));
        expect(low + width).toBeLessThanOrEqual(size * 8);
        for (let bit = low; bit < low + width; bit++) {
          expect(bits, `${name}.${field}`).not.toContain(bit);
          bits.add(bit);
        }
      }
    }
  });

  it("are read in 32-bit words with the same result", () => {
    for (const layout of layouts) {
      fc.assert(
        fc.property(fc.uint8Array({ minLength: layout.size, maxLength: layout.size }), (bytes) => {
          const words = new Uint32Array(bytes.slice().buffer);
          const decoded = layout.decode(bytesToWords(bytes));
          for (const [name, field] of Object.entries(layout.fields)) {
            if (field.width <= 53) expect(rawBits(words, field) * 2 ** field.shift).toBe(Number(decoded[name]));
          }
        }),
        { numRuns: 10 },
      );
    }
  });

  it.each([
    ["too large", { S2VMID: 65536 }],
    ["negative", { V: -1 }],
    ["not whole", { V: 0.5 }],
    ["not aligned", { S1ContextPtr: 0x1020 }],
    ["beyond the field", { S1ContextPtr: 2 ** 52 }],
    ["unknown", { Nonsense: 1 } as object],
  ])("take no value that is %s", (_, wrong) => {
    expect(() => streamTableEntry.encode(wrong)).toThrow(
      expect.objectContaining({ code: "ERR_IOSPAN_INVALID_ARGUMENT" }),
    );
  });

  // Words as Linux's driver, and so every SMMU, has them; the tables are checked against something else than themselves.
  it("are the architecture's", () => {
    const cd = contextDescriptor.encode({
      V: 1,
      T0SZ: 16,
      IR0: 1,
      OR0: 1,
      SH0: 3,
      EPD1: 1,
      IPS: 4,
      AA64: 1,
      R: 1,
      A: 1,
      ASET: 1,
      ASID: 0xabcd,
      TTB0: 0x1_2345_6000,
      MAIR0: 0xf404ff44,
    });
    expect(cd.slice(0, 4)).toEqual([0xabcd_e204_c000_3510n, 0x1_2345_6000n, 0n, 0xf404_ff44n]);
    const ste = streamTableEntry.encode({
      V: 1,
      Config: 5,
      S1ContextPtr: 0x4_1234_5040,
      S1DSS: 2,
      S1CIR: 1,
      S1COR: 1,
      S1CSH: 3,
      S1STALLD: 1,
      STRW: 2,
      SHCFG: 1,
    });
    expect(ste.slice(0, 2)).toEqual([0x4_1234_504bn, 0x1000_8800_00d6n]);
    const stage2 = streamTableEntry.encode({
      V: 1,
      Config: 6,
      S2VMID: 0x42,
      S2T0SZ: 20,
      S2SL0: 2,
      S2IR0: 1,
      S2OR0: 1,
      S2SH0: 3,
      S2TG: 0,
      S2PS: 4,
      S2AA64: 1,
      S2PTW: 1,
      S2R: 1,
      S2TTB: 0x8_0000_0000,
    });
    expect(stage2.slice(0, 4)).toEqual([0xdn, 0n, 0x044c_3594_0000_0042n, 0x8_0000_0000n]);
    const tlbi = commands.TLBI_NH_VA.encode({ ASID: 7, NUM: 31, SCALE: 4, TG: 1, TTL: 3, Leaf: 1, Address: 2n ** 63n });
    expect(tlbi).toEqual([0x0007_0000_0041_f012n, 0x8000_0000_0000_0701n]);
    expect(commands.CFGI_STE.encode({ SID: 0x100, Leaf: 1 })).toEqual([0x100_0000_0003n, 1n]);
    const sync = commands.SYNC.encode({ CS: 1, MSH: 3, MSIAttr: 15, MSIData: 5, MSIAddress: 0x1234_5670 });
    expect(sync).toEqual([0x5_0fc0_1046n, 0x1234_5670n]);
    expect(streamTableLink.encode({ Span: 9, L2Ptr: 0x4000_8000 })).toEqual([0x4000_8009n]);
  });
});

describe("events", () => {
  it("read as the architecture lays them out", () => {
    const words = [0x0000_0100_0000_0010n, 0x0000_0288_8000_0007n, 0xffff_0000_6000_0123n, 0x0000_0000_6000_0000n];
    expect(decodeEvent(wordsToBytes(words))).toEqual({
      id: eventIds.F_TRANSLATION,
      name: "F_TRANSLATION",
      streamId: 0x100,
      substreamId: undefined,
      stalled: true,
      stallTag: 7,
      read: true,
      privileged: false,
      instruction: false,
      stage: 2,
      class: 2,
      tableRead: false,
      inputAddress: 0xffff_0000_6000_0123n,
      intermediateAddress: 0x6000_0000,
      fetchAddress: 0,
      words,
    });
    const fetch = decodeEvent(wordsToBytes([0x5_0000_380bn, 0n, 0n, 0x1234_5678n]));
    expect(fetch).toMatchObject({ name: "F_WALK_EABT", substreamId: 3, fetchAddress: 0x1234_5678, stage: 1 });
    expect(decodeEvent(wordsToBytes([0xffn, 0n, 0n, 0n]))).toMatchObject({ id: 0xff, name: undefined });
  });
});

describe("page descriptors", () => {
  it("give back the address that was put in", () => {
    const granules = fc.constantFrom(4096, 16384, 65536);
    fc.assert(
      fc.property(granules, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (granule, fraction) => {
        const wide = granule === 65536;
        const address = Math.floor((fraction * 2 ** (wide ? 52 : 48)) / granule) * granule;
        const low = descriptorAddressLow(address) | 0xc43;
        const high = descriptorAddressHigh(address) | 0xfff0_0000;
        expect(descriptorAddress(low, high, Math.log2(granule), wide)).toBe(address);
        const { OutputAddress } = stage1Leaf.decode([(BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)]);
        if (!wide) expect(OutputAddress - (OutputAddress % granule)).toBe(address);
      }),
    );
  });

  it.each([
    [4096, [39, 30, 21, 12], { 48: 0, 40: 0, 39: 1, 30: 2, 25: 2 }],
    [16384, [47, 36, 25, 14], { 48: 0, 47: 1, 36: 2, 25: 3 }],
    [65536, [55, 42, 29, 16], { 52: 1, 48: 1, 42: 2, 29: 3, 25: 3 }],
  ] as const)("of %i bytes per page have these levels", (granule, levelBits, levels) => {
    expect(tableShape(granule).levelBits).toEqual(levelBits);
    for (const [bits, level] of Object.entries(levels)) expect(firstLevel(granule, Number(bits))).toBe(level);
  });
});

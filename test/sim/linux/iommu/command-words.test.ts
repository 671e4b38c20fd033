import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { BitFields } from "../../../../src/sim/hw/smmu/bit-fields.js";
import { commands } from "../../../../src/sim/hw/smmu/commands.js";
import { commandWords, newCommand, setField } from "../../../../src/sim/linux/iommu/command-words.js";

const { TLBI_NH_VA, TLBI_S2_IPA } = commands;

describe("commands without bigints", () => {
  it.each([
    ["TLBI_NH_VA", TLBI_NH_VA, { NUM: 5, SCALE: 5, Leaf: 1, TTL: 2, TG: 2, ASID: 16, VMID: 16 }],
    ["TLBI_S2_IPA", TLBI_S2_IPA, { NUM: 5, SCALE: 5, Leaf: 1, TTL: 2, TG: 2, VMID: 16 }],
  ])("%s is what the codec makes of the same values", (_name, command, widths) => {
    const bits = Object.fromEntries(Object.entries(widths).map(([name, width]) => [name, fc.nat(2 ** width - 1)]));
    const page = fc.integer({ min: 0, max: 2 ** 40 - 1 });
    const fields: BitFields = command.fields;
    fc.assert(
      fc.property(fc.record(bits), page, (values, pages) => {
        const address = pages * 4096;
        const words = newCommand(command);
        for (const [name, value] of Object.entries(values)) setField(words, fields[name]!, value);
        setField(words, command.fields.Address, address);
        const Address = command === TLBI_NH_VA ? BigInt(address) : address;
        const encode = command.encode as (all: Record<string, number | bigint>) => bigint[];
        expect(words).toEqual(commandWords(encode({ ...values, Address })));
      }),
    );
  });

  it("hold no value that does not fit", () => {
    const words = newCommand(TLBI_NH_VA);
    expect(() => setField(words, TLBI_NH_VA.fields.ASID, 0x10000)).toThrow(/does not fit/);
    expect(() => setField(words, TLBI_NH_VA.fields.Address, 0x1001)).toThrow(/does not fit/);
  });
});

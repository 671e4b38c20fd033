import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { accessOf, Ledger, type MappingRecord, rangeOf } from "../../src/space/ledger.js";
import { record } from "../support/records.js";

describe("Ledger", () => {
  it("gives its records ascending by IOVA, above 2^53 and 2^63 too", () => {
    const iovas = fc.uniqueArray(fc.bigInt(0n, 2n ** 64n - 4096n), { maxLength: 20 });
    fc.assert(
      fc.property(iovas, (list) => {
        const ledger = new Ledger();
        for (const iova of list) ledger.add(record(iova, 4096));
        const sorted = ledger.sorted().map(({ iova }) => iova);
        expect(sorted).toHaveLength(list.length);
        for (const [index, iova] of sorted.entries())
          if (index > 0) expect(iova > (sorted[index - 1] ?? 0n)).toBe(true);
      }),
    );
  });

  it("has a record from when it is added until it is deleted", () => {
    const ledger = new Ledger();
    const mapping = record(0x1000, 4096);
    expect(ledger.has(mapping)).toBe(false);
    ledger.add(mapping);
    expect(ledger.has(mapping)).toBe(true);
    ledger.delete(mapping);
    expect(ledger.has(mapping)).toBe(false);
    expect(ledger.sorted()).toEqual([]);
  });

  it("does not take a new mapping of the same IOVAs for the old one", () => {
    const ledger = new Ledger();
    const [old, fresh] = [record(0x1000, 4096), record(0x1000, 4096)];
    ledger.add(old);
    ledger.delete(old);
    ledger.add(fresh);
    expect([ledger.has(old), ledger.has(fresh)]).toEqual([false, true]);
  });
});

describe("rangeOf", () => {
  it("ends at the last byte inside, up to the end of the address space", () => {
    expect(rangeOf(record(0x1000, 0x2000))).toEqual({ start: 0x1000n, end: 0x2fffn });
    expect(rangeOf(record(2n ** 64n - 4096n, 4096)).end).toBe(2n ** 64n - 1n);
  });
});

describe("accessOf", () => {
  it("is the same for every interface, or what each was given", () => {
    const limited: MappingRecord["access"] = new Map([["a", "read"]]);
    expect(accessOf(record(0x1000, 4096, { access: "write" }), "anything")).toBe("write");
    expect(accessOf(record(0x1000, 4096, { access: limited }), "a")).toBe("read");
    expect(accessOf(record(0x1000, 4096, { access: limited }), "b")).toBeUndefined();
  });

  it("remembers where the last 64 were that are gone, and no memory", () => {
    const ledger = new Ledger();
    const records = Array.from({ length: 100 }, (_, index) => record(0x1000 * index, 4096));
    for (const each of records) ledger.add(each);
    expect(ledger.recentlyDeleted).toEqual([]);
    for (const each of records) ledger.delete(each);
    // What is gone already, is not gone again.
    for (const each of records) ledger.delete(each);
    expect(ledger.recentlyDeleted).toEqual(records.slice(36).map(rangeOf));
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IospanError } from "../../src/errors.js";
import { topologyOfAcpi } from "../../src/topology/topology-of-acpi.js";
import { errorOf } from "../support/errors.js";
import { summed } from "./support/acpi-table.js";
import { dmar, ivrs } from "./support/x86-tables.js";

describe("a DMAR table", () => {
  it("becomes units, what is in their scopes, and what firmware keeps for it", () => {
    const topology = topologyOfAcpi(dmar(), "DMAR");
    expect(topology.iommus).toMatchObject([
      { name: "dmar0", kind: "intel", addresses: [0xfed90000n], path: "DMAR@0x30" },
      { name: "dmar1", addresses: [0xfed91000n] },
    ]);
    expect(topology.devices).toMatchObject([
      {
        name: "0000:00:02.0",
        requesterId: 0x10,
        links: [{ iommu: "DMAR@0x30", ids: [{ first: 0x10, count: 1 }] }],
        reserved: [{ start: 0x7b800000n, end: 0x7bffffffn, type: "direct" }],
      },
      { name: "0000:00:1c.0/03.1", isBus: true, requesterId: undefined, links: [{ ids: [] }] },
      { name: "PCI segment 0000, the rest", isBus: true, links: [{ iommu: "DMAR@0x48" }] },
    ]);
  });

  it.each([
    ["a structure without a header", 50, 2, /byte 0x32: a structure of 2 bytes/],
    ["a structure beyond the end", 51, 9, /byte 0x30: .* bytes are wanted/],
    ["a scope without a header", 65, 1, /byte 0x41: a device scope of 1 bytes/],
  ])("is refused with the offset: %s", (_name, at, value, message) => {
    expect(errorOf(() => topologyOfAcpi(summed(dmar().with(at, value)))).message).toMatch(message);
  });
});

describe("an IVRS table", () => {
  it("becomes units in their newest form, and what each translates", () => {
    const topology = topologyOfAcpi(ivrs(), "IVRS");
    expect(topology.iommus).toMatchObject([{ name: "ivhd0", kind: "amd", addresses: [0xfd000000n] }]);
    expect(topology.devices).toMatchObject([
      {
        name: "0001:00:01.0 to 0001:00:1f.7",
        isBus: true,
        links: [{ ids: [{ input: 8, first: 8, count: 0xf8 }] }],
        reserved: [{ start: 0x1000n, end: 0x2fffn, type: "direct" }],
      },
      { name: "0001:01:00.0", requesterId: 0x100, reserved: [] },
    ]);
  });

  it("is refused with the offset where a range has no beginning", () => {
    const bytes = ivrs();
    const at = 36 + 12 + 28 + 40;
    expect(errorOf(() => topologyOfAcpi(summed(bytes.with(at, 0)))).message).toMatch(
      /byte 0x78: the end of a range has no beginning/,
    );
  });
});

describe("junk", () => {
  it.each([
    ["DMAR", dmar()],
    ["IVRS", ivrs()],
  ])("never crashes the reader: %s", (_name, table) => {
    const changes = fc.array(fc.tuple(fc.integer({ min: 36, max: table.length - 1 }), fc.nat(255)), { maxLength: 6 });
    fc.assert(
      fc.property(changes, (list) => {
        const bytes = Uint8Array.from(table);
        for (const [at, value] of list) bytes[at] = value;
        try {
          topologyOfAcpi(summed(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(IospanError);
          expect((error as Error).message).toMatch(/byte 0x[0-9a-f]+: /);
        }
      }),
      { numRuns: 300 },
    );
  });
});

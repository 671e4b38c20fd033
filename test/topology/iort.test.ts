import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IospanError } from "../../src/errors.js";
import { type IortBody, type IortMapping, parseIort } from "../../src/topology/acpi/iort.js";
import { idRanges } from "../../src/topology/acpi/iort-ids.js";
import { topologyOfAcpi } from "../../src/topology/topology-of-acpi.js";
import { errorOf } from "../support/errors.js";
import { summed } from "./support/acpi-table.js";
import { iortTable, type NodeSpec, offsetsOf } from "./support/iort-table.js";

const mapping = (input: number, count: number, output: number, target: number, single = false): IortMapping => ({
  input,
  last: input + count - 1,
  output,
  target,
  single,
});

const memory = { coherent: false, flags: 0 };
const its: NodeSpec = { body: { type: "its-group", its: [0] } };
const smmu = (address: bigint, mappings: readonly IortMapping[] = []): NodeSpec => ({
  body: { type: "smmu-v3", address, model: 0, flags: 0, ownMapping: undefined },
  mappings,
});

/** Two SMMUs in front of one ITS; PCI behind the first and, from bus 0x80 on, the second; a component behind the second. */
const board: readonly NodeSpec[] = [
  its,
  smmu(0x2b400000n, [mapping(0, 0x10000, 0x10000, 0)]),
  smmu(0x2b500000n, [mapping(0, 0x10000, 0x20000, 0)]),
  {
    body: { type: "root-complex", segment: 2, ats: true, memory: { coherent: true, flags: 3 } },
    mappings: [mapping(0, 0x8000, 0x100, 1), mapping(0x8000, 0x8000, 0x1000, 2)],
  },
  { body: { type: "named-component", name: "\\_SB.DMA0", flags: 0, memory }, mappings: [mapping(0, 1, 0x42, 2, true)] },
  {
    body: { type: "rmr", remap: true, ranges: [{ start: 0x8000_0000n, length: 0x10000n }] },
    mappings: [mapping(0, 1, 0x42, 2)],
  },
  { body: { type: "pmcg", address: 0x2b420000n, target: 0, page1: 0x2b430000n } },
];

describe("an IORT", () => {
  it("becomes SMMUs, a PCI segment, a component, and what firmware keeps for it", () => {
    const topology = topologyOfAcpi(iortTable(board), "IORT");
    const at = offsetsOf(board).map((offset) => `IORT@0x${offset.toString(16)}`);
    expect(topology.iommus).toMatchObject([
      { path: at[1], name: "smmu3.0x000000002b400000", kind: "arm,smmu-v3" },
      { path: at[2], name: "smmu3.0x000000002b500000" },
    ]);
    expect(topology.devices).toMatchObject([
      {
        name: "PCI segment 0002",
        isBus: true,
        domain: 2,
        driver: undefined,
        group: undefined,
        reserved: [],
        links: [
          { iommu: at[1], ids: [{ input: 0, first: 0x100, count: 0x8000 }], used: true },
          { iommu: at[2], ids: [{ input: 0x8000, first: 0x1000, count: 0x8000 }], used: true },
        ],
      },
      {
        name: "\\_SB.DMA0",
        links: [{ iommu: at[2], ids: [{ first: 0x42, count: 1 }] }],
        reserved: [{ start: 0x8000_0000n, end: 0x8000_ffffn, type: "direct-relaxable" }],
      },
    ]);
  });

  it("says what is coherent, and how the kernel's log calls the SMMUs", () => {
    const nodes: readonly NodeSpec[] = [
      { body: { type: "pmcg", address: 1n, target: 0, page1: 2n } },
      { body: { type: "smmu-v3", address: 0x1000n, model: 0, flags: 1, ownMapping: undefined } },
      { body: { type: "smmu", address: 0x2000n, span: 0x1000n, model: 1, flags: 1 } },
      { body: { type: "smmu", address: 0x3000n, span: 0x1000n, model: 1, flags: 2 } },
    ];
    expect(topologyOfAcpi(iortTable(nodes)).iommus.map(({ device, coherent }) => [device, coherent])).toEqual([
      ["arm-smmu-v3.1.auto", true],
      ["arm-smmu.2.auto", false],
      ["arm-smmu.3.auto", true],
    ]);
    expect(topologyOfAcpi(iortTable(board)).devices.map(({ coherent }) => coherent)).toEqual([true, false]);
  });

  it("finds nothing wrong with a root complex that has an IOMMU for each range of IDs", () => {
    expect(topologyOfAcpi(iortTable(board), "IORT").findings).toEqual([]);
    // What is on it has IDs of its own, out of the root complex's.
    const [host] = topologyOfAcpi(iortTable(board), "IORT").devices;
    expect(new Set(host?.links.map(({ iommu }) => iommu)).size).toBe(2);
  });

  it("chains mappings to the ITS, without those for an SMMU's own interrupts", () => {
    const own: NodeSpec = {
      body: { type: "smmu-v3", address: 0n, model: 0, flags: 1 << 4, ownMapping: 0 },
      mappings: [mapping(0, 1, 0x999, 0, true), mapping(0x100, 0x80, 0x5100, 0)],
    };
    const nodes = [its, own, { body: board[3]!.body, mappings: [mapping(0, 0x100, 0xc0, 1)] }];
    const iort = parseIort(iortTable(nodes));
    const host = iort.nodes.get(offsetsOf(nodes)[2]!)!;
    expect(idRanges(iort, host, "smmu")).toMatchObject([{ input: 0, output: 0xc0, count: 0x100 }]);
    // Only where the SMMU's rows cover what the host's give: from 0x100 to 0x17f.
    expect(idRanges(iort, host, "its-group")).toMatchObject([{ input: 0x40, output: 0x5100, count: 0x80 }]);
  });

  it("ends where nodes lead in circles", () => {
    const nodes: readonly NodeSpec[] = [
      { body: { type: "named-component", name: "A", flags: 0, memory }, mappings: [mapping(0, 1, 0, 1, true)] },
      { body: { type: "named-component", name: "B", flags: 0, memory }, mappings: [mapping(0, 1, 0, 0, true)] },
    ];
    expect(topologyOfAcpi(iortTable(nodes)).devices.map(({ links }) => links)).toEqual([[], []]);
  });

  it("gives a device with two SMMUs a finding", () => {
    const body: IortBody = { type: "named-component", name: "X", flags: 0, memory };
    const nodes = [smmu(1n), smmu(2n), { body, mappings: [mapping(0, 1, 1, 0, true), mapping(0, 1, 2, 1, true)] }];
    const { findings } = topologyOfAcpi(iortTable(nodes));
    expect(findings).toMatchObject([{ id: "several-iommus", severity: "warning" }]);
    expect(findings[0]?.text).toContain("uses the first, smmu3.0x0000000000000001");
  });

  it.each<[string, (bytes: Uint8Array) => Uint8Array, RegExp]>([
    ["another table", (bytes) => summed(bytes.fill(0x58, 0, 4)), /none of the ACPI tables IORT, DMAR, IVRS/],
    ["too short", (bytes) => bytes.subarray(0, 20), /none of the ACPI tables/],
    ["cut off", (bytes) => bytes.subarray(0, 80), /byte 0x4: it should have \d+ bytes and has 80/],
    ["damaged", (bytes) => bytes.with(60, bytes[60]! ^ 1), /byte 0x9: its checksum is wrong/],
    ["a node without a header", (bytes) => summed(bytes.with(49, 3)), /byte 0x31: a node of 3 bytes/],
    ["a node beyond the end", (bytes) => summed(bytes.with(50, 0xff)), /byte 0x30: \d+ bytes are wanted here/],
    ["nodes in the header", (bytes) => summed(bytes.with(40, 8)), /byte 0x28: the first node at 0x8/],
    ["more nodes than there are", (bytes) => summed(bytes.with(36, 99)), /bytes are wanted here, and there are/],
    ["a wild list of ITSs", (bytes) => summed(bytes.with(67, 0xff)), /byte 0x44/],
  ])("is refused with the offset: %s", (_name, change, message) => {
    const error = errorOf(() => topologyOfAcpi(change(iortTable(board))));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_ACPI_TABLE" });
    expect(error.message).toMatch(message);
    expect(error.hint).not.toBe("");
  });

  it("is refused where a mapping leads to no node", () => {
    const nodes = [{ body: board[4]!.body, mappings: [mapping(0, 1, 1, 0x777, true)] }];
    expect(errorOf(() => parseIort(iortTable(nodes))).message).toMatch(/leads to 0x777, where no node begins/);
  });
});

const u32 = fc.nat(0xffff_ffff);
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const text = fc.stringMatching(/^[\\_A-Z0-9.]{0,12}$/);
const access = fc.record({ coherent: fc.boolean(), flags: fc.nat(255) });
const body: fc.Arbitrary<IortBody> = fc.oneof(
  fc.record({ type: fc.constant("its-group" as const), its: fc.array(u32, { maxLength: 4 }) }),
  fc.record({ type: fc.constant("named-component" as const), name: text, flags: u32, memory: access }),
  fc.record({ type: fc.constant("root-complex" as const), segment: u32, ats: fc.boolean(), memory: access }),
  fc.record({ type: fc.constant("smmu" as const), address: u64, span: u64, model: u32, flags: u32 }),
  fc.record({
    type: fc.constant("smmu-v3" as const),
    address: u64,
    model: u32,
    flags: u32.map((flags) => flags & ~(1 << 4) & 0x7fff_ffff),
    ownMapping: fc.constant(undefined),
  }),
  fc.record({ type: fc.constant("pmcg" as const), address: u64, target: u32, page1: u64 }),
  fc.record({
    type: fc.constant("rmr" as const),
    remap: fc.boolean(),
    ranges: fc.array(fc.record({ start: u64, length: u64 }), { maxLength: 3 }),
  }),
  fc.record({ type: fc.constant("iwb" as const), address: u64, index: fc.nat(0xffff), name: text }),
  fc.record({ type: fc.constant("unknown" as const), number: fc.integer({ min: 8, max: 255 }) }),
);
const nodes = fc.array(
  fc.tuple(body, fc.array(fc.tuple(fc.nat(0x7fff_ffff), fc.nat(0xffff), u32, fc.nat(5), fc.boolean()))),
  {
    minLength: 1,
    maxLength: 6,
  },
);

describe("the IORT's codec", () => {
  it("reads back what was written", () => {
    fc.assert(
      fc.property(nodes, (list) => {
        const specs: readonly NodeSpec[] = list.map(([each, rows]) => ({
          body: each,
          mappings: rows.map(([input, more, output, target, single]) => ({
            input,
            last: input + more,
            output,
            target: target % list.length,
            single,
          })),
        }));
        const offsets = offsetsOf(specs);
        const read = [...parseIort(iortTable(specs)).nodes.values()];
        expect(read.map((node) => node.offset)).toEqual(offsets);
        expect(read.map((node) => node.body)).toEqual(specs.map((spec) => spec.body));
        expect(read.map((node) => node.mappings)).toEqual(
          specs.map((spec) => spec.mappings!.map((row) => ({ ...row, target: offsets[row.target] }))),
        );
      }),
    );
  });

  it("refuses junk, and only with errors that name the offset", () => {
    const change = fc.array(fc.tuple(fc.nat(600), fc.nat(255)), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(fc.constantFrom(iortTable(board)), change, fc.boolean(), (table, changes, isSummed) => {
        const bytes = Uint8Array.from(table);
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        try {
          topologyOfAcpi(isSummed ? summed(bytes) : bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(IospanError);
          expect((error as Error).message).toMatch(/byte 0x[0-9a-f]+: |none of the ACPI tables/);
        }
      }),
      { numRuns: 400 },
    );
  });
});

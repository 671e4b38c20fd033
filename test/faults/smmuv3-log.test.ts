import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readFaults } from "../../src/faults/fault-reader.js";
import { encodeEvent, rawLines } from "./support/event-log.js";

interface Recording {
  readonly kernel: string;
  readonly machine: string;
  readonly devices: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
}

const recorded = new URL("../conformance/recorded-events.json", import.meta.url);
const { recordings } = JSON.parse(readFileSync(recorded, "utf8")) as { readonly recordings: readonly Recording[] };

const SMMU = "arm-smmu-v3.0.auto";
const READ = rawLines([0x200_0000_0010n, 0x208_0000_0000n, 0x6000_0000n, 0n]);
const IN_WORDS = [
  `arm-smmu-v3 ${SMMU}: event: F_TRANSLATION client: 0000:02:00.0 sid: 0x200 ssid: 0x0 iova: 0x60000000 ipa: 0x0`,
  `arm-smmu-v3 ${SMMU}: unpriv data read s1 "Input address caused fault" stag: 0x0`,
];

describe("what real kernels said", () => {
  const cases = recordings.flatMap(({ kernel, machine, devices }) =>
    Object.entries(devices).map(([device, said]) => [kernel, machine, device, said] as const),
  );

  it.each(cases)("Linux %s on %s, of %s", (kernel, machine, device, said) => {
    const isNamed = kernel.startsWith("7.");
    const stage = machine === "stage-2" ? 2 : 1;
    for (const [what, lines] of Object.entries(said)) {
      const { faults, notices } = readFaults(lines);
      expect(notices).toEqual([]);
      expect(faults).toHaveLength(lines.length > 0 ? 1 : 0);
      if (lines.length === 0) continue;
      expect(faults[0]).toMatchObject({
        device: { name: device, from: isNamed ? "log" : "stream" },
        access: what.startsWith("a write") ? "write" : "read",
        cause: /read-only|write-only/.test(what) ? "not-permitted" : "not-mapped",
        privileged: false,
        instruction: false,
        stage,
      });
    }
  });
});

describe("an SMMUv3's messages", () => {
  it("are one fault, with and without the lines that Linux 6.14 added", () => {
    const { faults: old } = readFaults(READ);
    const { faults: recent } = readFaults([...READ, ...IN_WORDS]);
    expect(old).toMatchObject([{ type: "F_TRANSLATION", device: { name: "0000:02:00.0", from: "stream" } }]);
    expect(recent).toEqual([{ ...old[0], device: { name: "0000:02:00.0", from: "log" } }]);
  });

  it("are enough where only the decoded lines are left, as after grep event:", () => {
    const [whole] = readFaults([...READ, ...IN_WORDS]).faults;
    const { faults, notices } = readFaults(IN_WORDS);
    expect(faults).toEqual([{ ...whole, record: undefined }]);
    expect(notices).toEqual([]);
    expect(readFaults(IN_WORDS.slice(0, 1)).faults).toMatchObject([{ address: 0x6000_0000n, access: undefined }]);
  });

  it("are of each SMMU by itself, however they are interleaved", () => {
    const record = fc.tuple(fc.nat({ max: 0xffff }), fc.bigInt({ min: 0n, max: 2n ** 48n }), fc.boolean());
    const sides = fc.tuple(fc.array(record, { maxLength: 5 }), fc.array(record, { maxLength: 5 }));
    fc.assert(
      fc.property(sides, fc.array(fc.boolean()), (records, turns) => {
        const words = records.map((side) =>
          side.map(([streamId, inputAddress, read]) => encodeEvent({ id: 0x10, streamId, inputAddress, read })),
        );
        const [a, b] = words.map((side, index) => side.flatMap((each) => rawLines(each, `c0${index}0000.iommu`)));
        const lines = interleaved([...a!], [...b!], turns);
        const { faults, notices } = readFaults(lines);
        expect(notices).toEqual([]);
        for (const [index, side] of words.entries()) {
          const own = faults.filter(({ iommu }) => iommu === `c0${index}0000.iommu`);
          expect(own.map((fault) => fault.record)).toEqual(side);
        }
        expect(faults.map(({ line }) => line)).toEqual(faults.map(({ line }) => line).sort((x, y) => x - y));
      }),
    );
  });

  it("name nobody where Linux knows nobody of that StreamID", () => {
    const raw = rawLines([0x42_0000_0002n, 0n, 0n, 0n]);
    const line = `arm-smmu-v3 ${SMMU}: event: C_BAD_STREAMID client: (unassigned sid) sid: 0x42 ssid: 0x0`;
    expect(readFaults([...raw, line]).faults).toMatchObject([
      { type: "C_BAD_STREAMID", cause: "unknown-stream", device: undefined, streamId: 0x42 },
    ]);
  });

  it("have where a table was read, and what a fault on one was", () => {
    const fetch = rawLines(encodeEvent({ id: 0x09, streamId: 0x200, fetchAddress: 0x8000_0040n >> 3n }));
    expect(readFaults(fetch).faults).toMatchObject([{ type: "F_CD_FETCH", fetchAddress: 0x8000_0040n }]);
    const line = `arm-smmu-v3 ${SMMU}: event: F_CD_FETCH client: 0000:02:00.0 sid: 0x200 ssid: 0x0 fetch_addr: 0x80000040`;
    expect(readFaults([line]).faults).toMatchObject([{ type: "F_CD_FETCH", fetchAddress: 0x8000_0040n }]);
    const table = rawLines(encodeEvent({ id: 0x13, class: 1, tableRead: false, stalled: true, stage2: true }));
    expect(readFaults(table).faults).toMatchObject([
      { detail: "Stage 1 translation table fetch, write", stalled: true, stage: 2 },
    ]);
    const inWords = `arm-smmu-v3 ${SMMU}: priv inst write s2 "Stage 1 translation table fetch" ttd_write stall stag: 0x7`;
    expect(readFaults([IN_WORDS[0]!, inWords]).faults).toMatchObject([
      { detail: "Stage 1 translation table fetch", privileged: true, instruction: true, stage: 2, stalled: true },
    ]);
  });

  it("have no device that is no PCI requester", () => {
    expect(readFaults(rawLines([0x1_0000_0000_0010n, 0n, 0n, 0n])).faults[0]).toMatchObject({
      streamId: 0x10000,
      device: undefined,
    });
  });

  it("of a record that is not all there are no fault, but told", () => {
    const cut = readFaults([...READ.slice(0, 3), ...READ]);
    expect(cut.faults).toHaveLength(1);
    expect(cut.notices).toMatchObject([{ kind: "incomplete", iommu: SMMU, line: 1 }]);
    expect(readFaults(READ.slice(1)).notices).toMatchObject([{ kind: "incomplete" }]);
    expect(readFaults(READ.slice(0, 4)).notices).toMatchObject([{ kind: "incomplete" }]);
  });

  it("of a record whose header is another's are not believed", () => {
    const { faults, notices } = readFaults([READ[0]!.replace("0x10", "0x13"), ...READ.slice(1)]);
    expect(faults).toEqual([]);
    expect(notices).toMatchObject([{ kind: "incomplete" }]);
  });

  it("that events were lost, or that it failed, are notices", () => {
    const lines = [
      `arm-smmu-v3 ${SMMU}: EVTQ overflow detected -- events lost`,
      `arm-smmu-v3 ${SMMU}: unexpected global error reported (0x00000004), this could be serious`,
      `arm-smmu-v3 ${SMMU}: EVTQ write aborted -- events may have been lost`,
      "arm_smmu_dump_event: 1234 callbacks suppressed",
    ];
    expect(readFaults(lines).notices.map(({ kind, iommu, count }) => [kind, iommu, count])).toEqual([
      ["events-lost", SMMU, undefined],
      ["iommu-error", SMMU, undefined],
      ["events-lost", SMMU, undefined],
      ["suppressed", undefined, 1234],
    ]);
  });

  it("of a page request that nobody serves are a fault, too", () => {
    const lines = [
      `arm-smmu-v3 ${SMMU}: unexpected PRI request received:`,
      `arm-smmu-v3 ${SMMU}: \tsid 0x00000200.0x00007: [3L] unprivileged RW access at iova 0x0000000060000000`,
    ];
    expect(readFaults(lines)).toMatchObject({
      faults: [
        {
          type: "PRI",
          cause: "not-mapped",
          streamId: 0x200,
          substreamId: 7,
          address: 0x6000_0000n,
          access: "write",
          privileged: false,
        },
      ],
      notices: [],
    });
  });

  it("about other things are none", () => {
    const lines = [
      `arm-smmu-v3 ${SMMU}: ias 44-bit, oas 44-bit (features 0x00008305)`,
      `arm-smmu-v3 ${SMMU}: msi_domain`,
    ];
    expect(readFaults(lines)).toEqual({ faults: [], notices: [] });
  });
});

function interleaved(a: string[], b: string[], turns: readonly boolean[]): readonly string[] {
  const lines: string[] = [];
  for (let turn = 0; a.length > 0 || b.length > 0; turn++) {
    const from = (turns[turn % turns.length] ?? true) && a.length > 0 ? a : b.length > 0 ? b : a;
    lines.push(from.shift()!);
  }
  return lines;
}

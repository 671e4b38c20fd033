import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packageFile } from "../../src/cli/package-files.js";
import { explainFault } from "../../src/faults/explain-fault.js";
import { groupFaults } from "../../src/faults/fault-groups.js";
import { FaultReader, readFaults } from "../../src/faults/fault-reader.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";
import { encodeEvent, rawLines } from "./support/event-log.js";

const event = (streamId: number, inputAddress: bigint, read = true) =>
  rawLines(encodeEvent({ id: 0x10, streamId, inputAddress, read }));

/** Pieces that drivers' messages are made of, to get past the first look. */
const pieces = fc.constantFrom(
  "arm-smmu-v3 x: ",
  "arm-smmu y: ",
  "DMAR: ",
  "AMD-Vi: ",
  "event 0x10 received:",
  "event: F_TRANSLATION client: a sid: 0x",
  " ssid: ",
  "\t0x0000020000000010",
  "Unhandled context fault: fsr=0x",
  ", iova=0x",
  "Blocked unknown Stream ID 0x",
  "[DMA Read] Request device [",
  "00:02.0] fault addr ",
  "[fault reason 06] ",
  "Event logged [",
  "IO_PAGE_FAULT device=",
  "] flags=0xffffffffffffffffffffff",
  "ffffffffffffffffffffffff",
  "[   12.345678] ",
  "3,1,2,-;",
  "arm_smmu: 1 callbacks suppressed",
);

const topology = topologyOfDeviceTree(readFileSync(packageFile("chips/dual-smmu.dts")), "chip");

describe("reading a kernel log", () => {
  it("never fails, whatever is in it, and what it finds can be explained", () => {
    const junk = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.array(pieces).map((each) => each.join("")),
    );
    fc.assert(
      fc.property(fc.array(junk, { maxLength: 12 }), (lines) => {
        const { faults } = readFaults(lines);
        for (const fault of faults) {
          expect(explainFault(fault).summary).not.toBe("");
          expect(explainFault(fault, undefined, topology).origin?.text).not.toBe("");
        }
      }),
    );
  });

  it("is not slowed down by long lines made to that end", () => {
    const reader = new FaultReader();
    for (const part of ["arm-smmu-v3 ", "DMAR: [", "AMD-Vi: Event logged [", "<3>[ 1", "smmu event: a client: "]) {
      expect(reader.read(part.repeat(100_000)).faults).toEqual([]);
    }
  });

  it("takes a text, its lines, or one line after the other", () => {
    const lines = [...event(0x200, 0x1000n), "something else", ...event(0x208, 0x2000n)];
    const whole = readFaults(lines);
    expect(whole.faults).toHaveLength(2);
    expect(readFaults(lines.join("\n"))).toEqual(whole);
    expect(readFaults(lines.join("\r\n"))).toEqual(whole);
    expect(readFaults([lines.slice(0, 3).join("\n"), lines.slice(3).join("\n")])).toEqual(whole);
    const reader = new FaultReader();
    const found = [...lines.map((line) => reader.read(line)), reader.flush()].flatMap(({ faults }) => faults);
    expect(found).toEqual(whole.faults);
    expect(reader.flush()).toEqual({ faults: [], notices: [] });
  });

  it("keeps the time and the line in which a fault begins", () => {
    const lines = event(0x200, 0x1000n).map((line, index) => `[   12.00000${index}] ${line}`);
    expect(readFaults(["x", ...lines]).faults).toMatchObject([{ line: 2, time: { text: "12.000000", uptime: 12 } }]);
  });
});

describe("faults that repeat", () => {
  it("are counted by device, page and direction, with the first and the last", () => {
    const lines = [
      ...event(0x200, 0x1000n),
      ...event(0x200, 0x1ff8n),
      ...event(0x208, 0x1000n),
      ...event(0x200, 0x1000n, false),
      ...event(0x200, 0x2000n),
      ...event(0x200, 0x1004n),
    ];
    const groups = groupFaults(readFaults(lines).faults);
    expect(groups.map(({ first, last, count }) => [first.line, last.line, count])).toEqual([
      [1, 26, 3],
      [11, 11, 1],
      [16, 16, 1],
      [21, 21, 1],
    ]);
  });

  it("of two SMMUs are two", () => {
    const words = encodeEvent({ id: 0x10, streamId: 0x200 });
    expect(groupFaults(readFaults([...rawLines(words, "a"), ...rawLines(words, "b")]).faults)).toHaveLength(2);
  });
});

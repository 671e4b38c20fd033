import { describe, expect, it } from "vitest";
import type { DmaPath } from "../../../src/cli/demo/engine.js";
import { pattern } from "../../../src/cli/demo/pattern.js";
import { proofSize, prove, WrongBytes } from "../../../src/cli/demo/proof.js";
import type { DmaReport } from "../../../src/cli/demo/result.js";
import { iova } from "../../../src/iova.js";
import type { DmaBuffer } from "../../../src/space/mapping.js";
import { rejectionOf } from "../../support/errors.js";

const BASE = 0x10_0000n;

/** Memory, and paths to it that do what `copy` says instead of copying. */
function setUp(...copies: readonly ((memory: Uint8Array, from: number, to: number, length: number) => void)[]) {
  const bytes = new Uint8Array(proofSize(copies.length)).fill(0x55);
  const paths = copies.map((copy, index): DmaPath => {
    return {
      interface: `path${index}`,
      copy: async (from, to, length) => {
        copy(bytes, Number(from - BASE), Number(to - BASE), length);
        return 1;
      },
    };
  });
  const reports: DmaReport[] = [];
  const buffer = { bytes, iova: iova(BASE) } as unknown as DmaBuffer;
  return { reports, run: () => prove(paths, buffer, (report) => reports.push(report)) };
}

const right = (memory: Uint8Array, from: number, to: number, length: number) =>
  void memory.copyWithin(to, from, from + length);

describe("the proof", () => {
  it("has every path copy what the CPU wrote, and what the path before it wrote", async () => {
    const { reports, run } = setUp(right, right, right);
    await run();
    expect(reports.map((report) => [report.interface, report.source])).toEqual([
      ["path0", "cpu"],
      ["path1", "cpu"],
      ["path2", "cpu"],
      ["path0", "path2"],
      ["path1", "path0"],
      ["path2", "path1"],
    ]);
  });

  it("needs no other path for one", async () => {
    const { reports, run } = setUp(right);
    await run();
    expect(reports).toEqual([{ interface: "path0", bytes: 65536, source: "cpu", verified: true }]);
  });

  it.each([
    ["copies nothing", () => {}],
    ["leaves out the last byte", (m, from, to, length) => right(m, from, to, length - 1)],
    ["copies to another place", (m, from, to, length) => right(m, from, to + 4096, length)],
    ["copies from another place", (m, from, to, length) => right(m, from + 8, to, length)],
    ["writes a byte too many", (m, from, to, length) => right(m, from, to, length + 1)],
    [
      "changes what it reads",
      (m, from, to, length) => {
        right(m, from, to, length);
        m[from] = ~(m[from] ?? 0);
      },
    ],
  ] satisfies [string, typeof right][])("notices a path that %s", async (_, wrong) => {
    const { reports, run } = setUp(right, wrong);
    const error = await rejectionOf(run());
    expect(error).toBeInstanceOf(WrongBytes);
    expect(error).toHaveProperty(
      "message",
      expect.stringMatching(/^path1 was to copy what the CPU wrote: byte \d+ is 0x/),
    );
    expect(reports.map((report) => report.interface)).toEqual(["path0"]);
  });

  it("notices a path that sees memory of its own", async () => {
    const own = new Uint8Array(proofSize(2));
    // What the CPU writes reaches both, what the other path writes does not.
    const apart = (memory: Uint8Array, from: number, to: number, length: number) => {
      if (from === 0) own.set(memory.subarray(0, length));
      memory.set(own.subarray(from, from + length), to);
    };
    const { run } = setUp(right, apart);
    await expect(run()).rejects.toThrow(/^path1 was to copy what path0 wrote: /);
  });
});

describe("the pattern", () => {
  it("is the same for the same seed, and another for another", () => {
    expect(pattern(4096, 1)).toEqual(pattern(4096, 1));
    expect(pattern(4096, 1)).not.toEqual(pattern(4096, 2));
    expect(pattern(5, 0)).toHaveLength(5);
  });

  it("has all bytes, and nothing that repeats", () => {
    const bytes = pattern(65536, 0);
    expect(new Set(bytes).size).toBe(256);
    const words = new BigUint64Array(bytes.buffer);
    expect(new Set(words).size).toBe(words.length);
  });
});

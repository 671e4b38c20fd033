import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { outputWidth } from "../../../src/cli/text/output-width.js";
import { capture } from "../support/captured.js";
import { FAULTS_LOG } from "../support/faults-log.js";

const folder = mkdtempSync(path.join(tmpdir(), "iospan-width-"));
afterAll(() => rmSync(folder, { recursive: true }));
const log = path.join(folder, "kernel.log");
writeFileSync(log, FAULTS_LOG.map((line) => `${line}\n`).join(""));

describe("the width of an output", () => {
  it.each([
    [undefined, 100, {}, 80],
    [true, 100, {}, 100],
    [true, 300, {}, 120],
    [true, 20, {}, 40],
    [true, undefined, {}, 80],
    [true, 0, {}, 80],
    [undefined, undefined, { COLUMNS: "60" }, 60],
    [true, 100, { COLUMNS: "60" }, 60],
    [true, 100, { COLUMNS: "1000000" }, 100],
    [true, 100, { COLUMNS: "wide" }, 100],
    [true, 100, { COLUMNS: "-5" }, 100],
    [true, 100, { COLUMNS: "" }, 100],
    [true, 100, { COLUMNS: "999" }, 120],
  ])("of a terminal %s with %s columns and %j is %i", (isTTY, columns, env, expected) => {
    expect(outputWidth({ isTTY, columns }, env)).toBe(expected);
  });
});

const outputs: readonly (readonly string[])[] = [
  ["topology", "--device-tree", "dual-smmu"],
  ["topology", "--device-tree", "dual-smmu", "--by", "bus"],
  ["faults", log],
  ["demo"],
  ["demo", "--release", "6.14"],
  ["plan", "-t", "dual-smmu", "0000:01:00.0", "dma-port"],
  ["doctor", "-t", "dual-smmu", "dma-port"],
  ["--help"],
  ["demo", "--chip", `/no/such/${"folder/".repeat(20)}`],
];

describe("what commands print", () => {
  it.each(outputs)("%s %s %s %s keeps to 60, 80 and 120 columns", async (...words) => {
    const argv = words.filter((word) => word !== undefined);
    for (const width of [60, 80, 120]) {
      const { stdout, stderr } = await capture(argv, { env: { COLUMNS: String(width) } });
      // Commands are to be copied, and stay in one line.
      const lines = (stdout + stderr).split("\n").filter((line) => !/^ +# /.test(line));
      expect(lines.filter((line) => [...line].length > width)).toEqual([]);
    }
  });

  it.each(outputs)("%s %s %s %s has most of its words at 40 columns", async (...words) => {
    const argv = words.filter((word) => word !== undefined);
    const at = async (width: number) => {
      const { stdout, stderr } = await capture(argv, { env: { COLUMNS: String(width) } });
      return stdout + stderr;
    };
    const narrow = (await at(40)).replace(/[\s─-╿█…]/g, "").length;
    expect(narrow).toBeGreaterThan((await at(120)).replace(/[\s─-╿█…]/g, "").length * 0.65);
  });

  it("has colours where FORCE_COLOR wants them, and none with NO_COLOR", async () => {
    for (const argv of outputs) {
      const [forced, none] = [{ FORCE_COLOR: "1" }, { NO_COLOR: "1" }];
      const coloured = await capture(argv, { env: forced });
      expect(coloured.stdout + coloured.stderr, argv.join(" ")).toContain("\u001b[");
      const plain = await capture(argv, { env: none, terminal: true });
      expect(plain.stdout + plain.stderr, argv.join(" ")).not.toContain("\u001b[");
    }
  });
});

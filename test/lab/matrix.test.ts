import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatStrategyLine, parseStrategyLine, type StrategyResult } from "../../lab/guest/strategy-line.js";
import { KERNELS } from "../../lab/kernels.js";
import { MACHINES, machineNamed } from "../../lab/machines.js";
import { type CellResult, commandOf, formatMatrix, MATRIX, ResultReader } from "../../lab/matrix.js";

const result = fc.record<StrategyResult>({
  strategy: fc.constantFrom("mirrored", "shared-container", "iommufd", "single-domain"),
  verdict: fc.constantFrom("works", "refused", "fails"),
  passed: fc.nat(),
  failed: fc.nat(),
  skipped: fc.nat(),
  seconds: fc.nat(100_000).map((tenths) => tenths / 10),
});

describe("a strategy's line", () => {
  it("is read as it was written", () => {
    fc.assert(
      fc.property(result, (each) => {
        expect(parseStrategyLine(formatStrategyLine(each))).toEqual(each);
      }),
    );
  });

  it("is found in output that comes in pieces", () => {
    const pieces = fc.array(fc.nat(400), { maxLength: 20 });
    fc.assert(
      fc.property(fc.array(result, { maxLength: 5 }), pieces, (results, cuts) => {
        const text = results.map((each) => `  ok   something (3 ms)\n${formatStrategyLine(each)}\n\n`).join("");
        const reader = new ResultReader();
        let from = 0;
        for (const to of [...cuts, text.length].sort((a, b) => a - b)) {
          reader.read(text.slice(from, to));
          from = to;
        }
        expect(reader.strategies).toEqual(results);
      }),
    );
  });
});

describe("the matrix", () => {
  it("has every kernel and every machine, and none that cannot drive it", () => {
    expect(new Set(MATRIX.map(({ kernel }) => kernel))).toEqual(new Set(KERNELS));
    expect(new Set(MATRIX.map(({ machine }) => machine))).toEqual(new Set(MACHINES));
    for (const { kernel, machine } of MATRIX) {
      expect(machine.kernels ?? [kernel.name]).toContain(kernel.name);
    }
  });

  it("says where a strategy fails, is refused or was not run, in 80 columns", () => {
    const [first, second] = MATRIX;
    if (first === undefined || second === undefined) throw new Error("an empty matrix");
    const counts = { passed: 123, skipped: 1, seconds: 1 };
    const done: CellResult = {
      ...first,
      machine: machineNamed("two-pcie-paths"),
      strategies: [
        { strategy: "mirrored", verdict: "works", failed: 0, ...counts },
        { strategy: "iommufd", verdict: "fails", failed: 3, ...counts },
        { strategy: "single-domain", verdict: "refused", failed: 0, ...counts },
      ],
      code: 0,
      seconds: 61.4,
    };
    const died: CellResult = { ...second, strategies: [], code: 121, seconds: 1 };
    const [, , row = "", failure = "", ...rest] = formatMatrix([done, died]).split("\n");
    const cells = row.split("|").map((cell) => cell.trim());
    expect(cells.slice(3, 8)).toEqual(["✓ 123", "-", "✗ 3", "refused", "61 s"]);
    expect(failure).toContain("exit 121");
    expect(rest).toEqual([]);
    expect(row.length).toBeLessThanOrEqual(80);
  });

  it("asks for iommufd's container where that is what a cell is about", () => {
    const about = MATRIX.filter(({ compatContainer }) => compatContainer === true);
    expect(about.map(commandOf).every((command) => command.includes("--compat-container"))).toBe(true);
    expect(about.length).toBeGreaterThan(0);
  });

  it("is the one in the documentation", () => {
    const text = readFileSync(new URL("../../lab/README.md", import.meta.url), "utf8");
    const [, table = ""] = /<!-- matrix -->\n(.*)<!-- \/matrix -->/s.exec(text) ?? [];
    const rows = table.trim().split("\n").slice(2);
    const documented = rows.map((row) =>
      row
        .split("|")
        .slice(1, 3)
        .map((cell) => cell.trim()),
    );
    const wanted = MATRIX.map(({ kernel, machine, compatContainer }) => [
      compatContainer ? `${kernel.name} *` : kernel.name,
      machine.name,
    ]);
    expect(documented).toEqual(wanted);
    expect(table).not.toMatch(/✗|exit/);
  });
});

import { parseStrategyLine, type StrategyResult } from "./guest/strategy-line.js";
import type { Host } from "./host.js";
import { type KernelSource, kernelNamed } from "./kernels.js";
import { type Machine, machineNamed } from "./machines.js";

/** A kernel on a machine. */
export interface Cell {
  readonly kernel: KernelSource;
  readonly machine: Machine;
  /** `/dev/vfio/vfio` is iommufd's, which answers VFIO's container calls. */
  readonly compatContainer?: boolean;
}

/** Every kernel, on every machine that it can drive: what only one kernel can drive is there once. */
export const MATRIX: readonly Cell[] = [
  cell("5.10", "two-pcie-paths"),
  cell("6.1", "two-pcie-paths"),
  cell("6.12", "two-pcie-paths"),
  cell("7.3", "two-pcie-paths"),
  cell("7.3", "stage-2"),
  cell("7.3-16k", "two-pcie-paths"),
  cell("custom", "two-pcie-paths"),
  cell("custom", "two-pcie-paths", { compatContainer: true }),
  cell("custom", "platform"),
];

function cell(kernel: string, machine: string, more: Pick<Cell, "compatContainer"> = {}): Cell {
  return { kernel: kernelNamed(kernel), machine: machineNamed(machine), ...more };
}

/** What is run in a cell. */
export function commandOf({ compatContainer = false }: Cell): readonly string[] {
  const command = ["node", "build/lab/guest/prove.js", "--every", "--brief"];
  return compatContainer ? [...command, "--compat-container"] : command;
}

/** How the guest of a cell did. */
export interface CellResult extends Cell {
  readonly strategies: readonly StrategyResult[];
  /** Exit code of the run. */
  readonly code: number;
  readonly seconds: number;
}

/** Gathers the results that a guest tells, from its output as it comes. */
export class ResultReader {
  readonly strategies: StrategyResult[] = [];
  #rest = "";

  read(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const result = parseStrategyLine(line);
      if (result !== undefined) this.strategies.push(result);
    }
  }
}

const COLUMNS = ["mirrored", "shared-container", "iommufd", "single-domain"];
const HEADINGS = ["kernel", "machine", "mirrored", "shared", "iommufd", "single", "time"];

/** The results as a table of 80 columns, which is Markdown. */
export function formatMatrix(results: readonly CellResult[]): string {
  const rows = results.map(({ kernel, machine, compatContainer, strategies, code, seconds }) => {
    const cells = COLUMNS.map((name) => describe(strategies.find(({ strategy }) => strategy === name)));
    return [
      compatContainer ? `${kernel.name} *` : kernel.name,
      machine.name,
      ...cells,
      code === 0 ? `${Math.round(seconds)} s` : `exit ${code}`,
    ];
  });
  const table = [HEADINGS, ...rows];
  const widths = HEADINGS.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) => `| ${row.map((text, i) => text.padEnd(widths[i] ?? 0)).join(" | ")} |`;
  return [line(HEADINGS), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

/** `refused` is as expected: the kernel has no way to do it, and the library said so. */
function describe(result: StrategyResult | undefined): string {
  if (result === undefined) return "-";
  if (result.verdict === "refused") return "refused";
  if (result.verdict === "works") return `✓ ${result.passed}`;
  return `✗ ${result.failed}`;
}

/** Prints it, and what its words mean. @param wanted how many cells were to be run. */
export function printMatrix(host: Host, results: readonly CellResult[], wanted: number): void {
  process.stdout.write(`\n${formatMatrix(results)}\n`);
  const skipped = results.flatMap(({ strategies }) => strategies).reduce((sum, each) => sum + each.skipped, 0);
  host.say("✓ N: so many scenarios passed; ✗ N: so many failed; refused: as expected, that kernel has no iommufd");
  host.say("single: single-domain, for devices behind one SMMU; behind two its refusal is one of the scenarios");
  host.say("*: /dev/vfio/vfio is iommufd's, which is there for containers only");
  if (skipped > 0)
    host.say(`${skipped} scenarios were skipped, each with its reason in the output of \`prove.js --every\``);
  const missing = wanted - results.length;
  if (missing > 0) host.say(`the table is not complete: ${missing} of ${wanted} runs are missing`);
}

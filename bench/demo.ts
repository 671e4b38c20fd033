/**
 * What the first command costs, and what its second path is worth: the time of `iospan demo` as a process of its own from
 * start to end against one of Node.js that does nothing; and the chip's own throughput over one path and over both, where
 * memory is not the limit and where it is.
 */
import { execFileSync } from "node:child_process";
import path from "node:path";

const ROUNDS = 7;
const MOST_SECONDS = 2;
const LEAST_RATIO = 1.9;

/** `npm run bench` starts in the package. */
const root = process.cwd();
const command = path.join(root, "dist", "cli", "main.js");

interface Demo {
  readonly approaches: readonly {
    readonly approach: string;
    readonly throughput: { readonly onePath: number; readonly bothPaths: number; readonly ratio: number } | null;
  }[];
}

function run(args: readonly string[]): { readonly seconds: number; readonly output: string } {
  const before = performance.now();
  const output = execFileSync(process.execPath, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  return { seconds: (performance.now() - before) / 1000, output };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

function printRow(cells: readonly string[]): void {
  console.log(
    cells
      .map((cell, i) => (i === 0 ? cell.padEnd(44) : cell.padStart(12)))
      .join("")
      .trimEnd(),
  );
}

function printStart(): void {
  const rounds = Array.from({ length: ROUNDS }, () => [run([command, "demo"]), run(["-e", "0"])] as const);
  const demo = median(rounds.map(([each]) => each.seconds));
  const nothing = median(rounds.map(([, each]) => each.seconds));
  printRow(["seconds, median", "measured", "node -e 0", "ratio", "budget"]);
  const cells = [demo.toFixed(2), nothing.toFixed(2), (demo / nothing).toFixed(1)];
  printRow(["iospan demo, cold", ...cells, demo <= MOST_SECONDS ? "ok" : "over"]);
}

function printThroughput(chip: string, budget: number | undefined): void {
  const { output } = run([command, "demo", "--json", "--chip", path.join(root, "chips", chip)]);
  for (const { approach, throughput } of (JSON.parse(output) as Demo).approaches) {
    if (throughput === null) continue;
    const { onePath, bothPaths, ratio } = throughput;
    const verdict = budget === undefined ? "-" : ratio >= budget ? "ok" : "below";
    const speeds = [onePath, bothPaths].map((bytes) => (bytes / 1e9).toFixed(2));
    printRow([`${chip}, ${approach}`, ...speeds, ratio.toFixed(2), verdict]);
  }
}

printStart();
console.log();
printRow(["GB/s in the chip's own time", "one path", "both", "ratio", "budget"]);
printThroughput("dual-smmu.dts", LEAST_RATIO);
printThroughput("dual-smmu-slow-memory.dts", undefined);

import { faint, good, type Line, line, name, strong } from "../text/line.js";
import { bytesPerSecond, listed } from "../text/quantity.js";
import { padEnd, padStart, shorten } from "../text/width.js";
import type { ApproachReport, DemoResult, ThroughputReport } from "./result.js";

const MOST_NAME = 20;
const BAR_WIDTH = 36;
/** Approaches whose throughput differs by less are told in one line. */
const SAME = 0.01;

/** What more than one path is good for: the throughput over each alone, and over all at once. Nothing for devices that have one path each. */
export function renderThroughput({ machine, approaches }: DemoResult): readonly Line[] {
  if (machine.engines[0]?.kind === "edu") return [];
  const [first, ...others] = approaches.filter(({ throughput }) => throughput !== null);
  if (first === undefined || first.throughput === null || first.throughput.paths.length < 2) return [];
  const { approach, throughput } = first;
  return [
    line(strong("What the second path buys"), faint("  bytes copied, in the chip's own time")),
    ...bars(throughput),
    ...comparedWith(approach, throughput, others),
  ];
}

function bars({ paths, bothPaths, ratio }: ThroughputReport): readonly Line[] {
  const rates = [...paths.map(({ bytesPerSecond: rate }) => rate), bothPaths];
  const bar = (rate: number) =>
    padEnd("█".repeat(Math.max(1, Math.round((rate / Math.max(...rates)) * BAR_WIDTH))), BAR_WIDTH);
  const label = paths.length === 2 ? "both" : `all ${paths.length}`;
  return [
    ...paths.map(({ interface: path, bytesPerSecond: rate }) =>
      line("   ", name(padEnd(shorten(path, MOST_NAME), MOST_NAME)), faint(bar(rate)), amount(rate)),
    ),
    line("   ", padEnd(label, MOST_NAME), good(bar(bothPaths)), amount(bothPaths), strong(`  ${ratio.toFixed(2)}x`)),
  ];
}

function amount(rate: number): string {
  return padStart(bytesPerSecond(rate), 11);
}

/** What it is with the other approaches: the paths are the hardware's, so it should not differ. */
function comparedWith(
  approach: string,
  { bothPaths }: ThroughputReport,
  others: readonly ApproachReport[],
): readonly Line[] {
  const rates = others.map((other) => ({ name: other.approach, rate: other.throughput?.bothPaths ?? 0 }));
  const isSame = ({ rate }: { rate: number }) => Math.abs(rate - bothPaths) <= SAME * bothPaths;
  const same = rates.filter(isSame).map((other) => other.name);
  const texts = rates
    .filter((other) => !isSame(other))
    .map((other) => `${bytesPerSecond(other.rate)} with ${other.name}`);
  if (others.length === 0) return [];
  return [line(faint(`   ${[`with ${listed([approach, ...same])}`, ...texts].join("; ")}`))];
}

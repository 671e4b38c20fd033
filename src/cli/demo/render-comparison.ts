import { faint, type Line, line, strong } from "../text/line.js";
import { bytes } from "../text/quantity.js";
import { padEnd, padStart } from "../text/width.js";
import type { ApproachReport } from "./result.js";

interface Column {
  readonly title: string;
  value(report: ApproachReport): number;
}

const columns: readonly Column[] = [
  { title: "containers", value: ({ containers }) => containers },
  { title: "domains", value: ({ domains }) => domains },
  { title: "pages pinned", value: ({ pinnedPages }) => pinnedPages },
  { title: "calls", value: ({ cost }) => cost.systemCalls },
  { title: "commands", value: ({ cost }) => sum(cost.smmus.map(({ commands }) => commands)) },
  { title: "walks", value: ({ cost }) => sum(cost.smmus.map(({ walks }) => walks)) },
];

const NAME_WIDTH = 20;

/** What the approaches that work cost, side by side. */
export function renderComparison(approaches: readonly ApproachReport[]): readonly Line[] {
  const working = approaches.filter(({ works }) => works);
  if (working.length === 0) return [];
  const mapped = Math.max(...working.map(({ mappedBytes }) => mappedBytes));
  const note = `   ${bytes(mapped)} mapped; calls to Linux, commands to the SMMUs, table walks by them`;
  const titles = columns.map(({ title }) => `  ${title}`).join("");
  return [line(strong(padEnd("What it costs", NAME_WIDTH)), faint(titles)), ...working.map(row), line(faint(note))];
}

function row(report: ApproachReport): Line {
  const cells = columns.map(({ title, value }) => padStart(String(value(report)), title.length + 2));
  return line(padEnd(`   ${report.approach}`, NAME_WIDTH), cells.join(""));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

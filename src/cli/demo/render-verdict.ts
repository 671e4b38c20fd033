import { bad, good, type Line, line, strong, WIDTH } from "../text/line.js";
import { bytesPerSecond, counted, listed } from "../text/quantity.js";
import { wrap } from "../text/wrap.js";
import type { ApproachReport, DemoResult, MachineReport } from "./result.js";

/** What it all comes to. */
export function renderVerdict(result: DemoResult): readonly Line[] {
  const { asExpected } = result;
  const mark = asExpected ? good("✓ ") : bad("✗ ");
  const verdict = strong(asExpected ? "As expected. " : `Not as expected: ${strays(result)}. `);
  return wrap(line(mark, verdict, `${refusals(result)}${successes(result)}`.trimEnd()), WIDTH, 2);
}

function strays({ approaches }: DemoResult): string {
  return listed(approaches.filter(({ asExpected }) => !asExpected).map(({ approach }) => approach));
}

function refusals({ machine, approaches }: DemoResult): string {
  const failed = approaches.filter(({ works }) => !works);
  if (failed.length === 0) return "";
  const names = failed.map(({ approach, error }) => (error?.errno ? `${approach} (${error.errno})` : approach));
  return `With ${counted(machine.iommus.length, "IOMMU")}, ${listed(names)} ${names.length === 1 ? "is" : "are"} refused. `;
}

function successes({ machine, approaches }: DemoResult): string {
  const working = approaches.filter(({ works }) => works);
  if (working.length === 0) return "";
  const names = listed(working.map(({ approach }) => approach));
  const who = ["", "the interface reads and writes", "both interfaces read and write"][machine.interfaces.length];
  return `With ${names}, ${who ?? "all interfaces read and write"} the same memory at the same addresses${gain(working, machine)}.`;
}

/** Below it nobody would call it faster. */
const LEAST_GAIN = 1.05;

function gain(working: readonly ApproachReport[], { gain: expected }: MachineReport): string {
  const [throughput] = working.flatMap((each) => each.throughput ?? []);
  if (throughput === undefined || throughput.paths.length < 2) return "";
  const isPair = throughput.paths.length === 2;
  const paths = isPair ? "both paths" : `all ${throughput.paths.length} paths`;
  if (throughput.ratio < LEAST_GAIN) {
    const memory = expected?.limit === "memory" ? expected.memoryBandwidth : null;
    const why = memory === null ? "" : `: memory, with ${bytesPerSecond(memory)} for reads and writes, is the limit`;
    return `, but ${paths} together copy no faster than the ${isPair ? "faster" : "fastest"} alone${why}`;
  }
  return `, and ${paths} together copy ${throughput.ratio.toFixed(2)} times as fast as the ${isPair ? "faster" : "fastest"} alone`;
}

import { bad, good, type Line, line, notice, type Span, strong, WIDTH } from "../text/line.js";
import { bytesPerSecond, counted, listed } from "../text/quantity.js";
import { wrap } from "../text/wrap.js";
import type { ApproachReport, DemoResult, MachineReport } from "./result.js";

/** What it all comes to. */
export function renderVerdict(result: DemoResult): readonly Line[] {
  const [mark, verdict] = judgement(result);
  const story = result.machine.interfaces.length > 1 ? `${refusals(result)}${successes(result)}`.trimEnd() : "";
  return [...wrap(line(mark, strong(verdict), story && ` ${story}`), WIDTH, 2), ...choice(result)];
}

function judgement(result: DemoResult): readonly [mark: Span, verdict: string] {
  const { asExpected, spans, machine } = result;
  if (!asExpected) return [bad("✗ "), `Not as expected: ${strays(result)}.`];
  if (spans) return [good("✓ "), "As expected."];
  const isAlone = machine.interfaces.length < 2;
  const why = isAlone
    ? "Only one interface can do DMA through an IOMMU, nothing to span."
    : "Nothing spans the interfaces.";
  return [notice("! "), why];
}

/** What a program gets that does not choose. */
function choice({ auto, machine }: DemoResult): readonly Line[] {
  if (auto === null || machine.interfaces.length < 2) return [];
  const place = auto.plan.findIndex(({ chosen }) => chosen);
  // What comes after the chosen one was not tried.
  const passedOver = auto.plan.slice(0, Math.max(place, 0)).map(({ strategy }) => strategy);
  const since =
    passedOver.length === 0 ? "" : `, for ${listed(passedOver)} ${passedOver.length === 1 ? "is" : "are"} refused`;
  const reason = auto.plan[place]?.reason ?? "";
  return wrap(line(`  Strategy auto takes ${auto.strategy} (${reason})${since}.`), WIDTH, 2);
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
  const noun = isSeparate(machine) ? "devices" : "interfaces";
  const who = `${machine.interfaces.length === 2 ? "both" : "all"} ${noun} read and write`;
  return `With ${names}, ${who} the same memory at the same addresses${gain(working, machine)}.`;
}

/** Devices that have nothing to do with each other. */
function isSeparate({ engines }: MachineReport): boolean {
  return engines[0]?.kind === "edu";
}

/** Below it nobody would call it faster. */
const LEAST_GAIN = 1.05;

function gain(working: readonly ApproachReport[], machine: MachineReport): string {
  if (isSeparate(machine)) return "";
  const { gain: expected } = machine;
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

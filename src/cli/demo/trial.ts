import { IospanError } from "../../errors.js";
import type { SimulatedMachine } from "../../sim/simulated-machine.js";
import { IoAddressSpace } from "../../space/io-address-space.js";
import type { DmaBuffer } from "../../space/mapping.js";
import type { Syscalls } from "../../syscalls/syscalls.js";
import type { ApproachName } from "./approaches.js";
import { CostMeter, type Footprint, footprintOf, NO_FOOTPRINT } from "./cost.js";
import type { Engine } from "./engine.js";
import type { FoundEngine } from "./engines.js";
import { proofSize, prove, WrongBytes } from "./proof.js";
import type { ApproachReport, DmaReport, FailureReport, ThroughputReport } from "./result.js";
import { measure } from "./throughput.js";

/** Bytes of the buffer that all interfaces share: enough for two loads of an engine. */
const BUFFER_SIZE = 2 * 2 ** 20;

/** What a trial needs, and whom it keeps informed. */
export interface TrialParts {
  readonly machine: SimulatedMachine;
  /** At least one. */
  readonly engines: readonly FoundEngine[];
  /** Puts a tracer in front of the kernel. */
  readonly trace?: ((approach: ApproachName, inner: Syscalls) => Syscalls) | undefined;
  /** Told what is done next. */
  readonly say?: ((what: string) => Promise<void>) | undefined;
}

/** What became of an approach, not judged yet. */
export type Outcome = Omit<ApproachReport, "expected" | "asExpected">;

/** How far it came. */
interface Reached {
  footprint: Footprint;
  readonly dma: DmaReport[];
  throughput: ThroughputReport | null;
}

/**
 * Tries an approach for real: opens the space, maps, does DMA over every interface, compares, measures, closes.
 * What the kernel, the library or memory have against it is the outcome; any other error is thrown.
 */
export async function tryApproach(approach: ApproachName, parts: TrialParts): Promise<Outcome> {
  const { machine } = parts;
  const logged = machine.kernelLog.length;
  const meter = new CostMeter(machine);
  const counted = meter.calls.over(machine.syscalls);
  const syscalls = parts.trace?.(approach, counted) ?? counted;
  const reached: Reached = { footprint: NO_FOOTPRINT, dma: [], throughput: null };
  const error = await failureOf(() => carryOut(approach, syscalls, parts, reached));
  const works = error === null;
  const { footprint, dma, throughput } = reached;
  const kernelLog = machine.kernelLog.slice(logged);
  return {
    approach,
    works,
    error,
    ...footprint,
    dma,
    throughput: works ? throughput : null,
    cost: meter.read(),
    kernelLog,
  };
}

async function failureOf(work: () => Promise<void>): Promise<FailureReport | null> {
  try {
    await work();
    return null;
  } catch (error) {
    return failureReport(error);
  }
}

async function carryOut(
  approach: ApproachName,
  syscalls: Syscalls,
  parts: TrialParts,
  reached: Reached,
): Promise<void> {
  const { machine, engines: found, say } = parts;
  await say?.(`${approach}: opening`);
  const names = found.flatMap(({ interfaces }) => interfaces.map(({ name }) => name));
  await using space = await IoAddressSpace.open({ syscalls }, names, { strategy: approach });
  await say?.(`${approach}: mapping`);
  using buffer = space.allocate(Math.max(proofSize(names.length), BUFFER_SIZE));
  reached.footprint = footprintOf(machine, buffer.bytes.length);
  await say?.(`${approach}: DMA over every interface`);
  const engines = await openAll(found, space, machine);
  try {
    await exercise(engines, buffer, reached);
  } finally {
    await say?.(`${approach}: closing`);
    for (const engine of engines) await engine.close();
  }
}

async function exercise(engines: readonly Engine[], buffer: DmaBuffer, reached: Reached): Promise<void> {
  const paths = engines.flatMap((engine) => engine.paths);
  await prove(paths, buffer, (dma) => reached.dma.push(dma));
  // The first is the one that the others are beside.
  const [engine] = engines;
  if (engine !== undefined) reached.throughput = await measure(engine, buffer);
}

async function openAll(
  found: readonly FoundEngine[],
  space: IoAddressSpace,
  { clock }: SimulatedMachine,
): Promise<Engine[]> {
  const engines: Engine[] = [];
  for (const engine of found) engines.push(await engine.open(space, clock));
  return engines;
}

function failureReport(thrown: unknown): FailureReport {
  const error = original(thrown);
  if (error instanceof IospanError) {
    const { syscall = null, errnoName = null, message, code, hint } = error;
    return { syscall, errno: errnoName, message, code, hint };
  }
  if (error instanceof WrongBytes)
    return { syscall: null, errno: null, message: error.message, code: null, hint: null };
  throw error;
}

/** What went wrong first: closing after a failure may fail as well, and then `using` makes one error of both. */
function original(error: unknown): unknown {
  return error instanceof Error && "suppressed" in error ? original(error.suppressed) : error;
}

import { IospanError } from "../../errors.js";
import { explainFault, type FaultExplanation } from "../../faults/explain-fault.js";
import type { IommuFault } from "../../faults/fault.js";
import type { Topology } from "../../topology/topology.js";
import type { OpenMachine } from "../machine/open-machine.js";
import type { SourceFlags } from "../machine-source.js";
import { KMSG, STANDARD_INPUT } from "./open-log.js";

/** Puts a fault of a log in words. */
export type Explain = (fault: IommuFault) => FaultExplanation;

/** What goes with a log. */
export interface Explainer {
  readonly explain: Explain;
  /** The log that was saved with the machine; undefined where one was named, or this machine's is meant. */
  readonly savedLog?: readonly string[];
}

/** Drivers come and go while a log is followed; reading a large machine for every fault of a burst would hold up all. */
const FRESH_MS = 1000;

/**
 * How the faults of a log are explained: with the sources that were named, for this machine's own log with this machine, which
 * is looked at when there is something to explain, else by the log alone, which may be of any machine.
 * @param log as openLog() takes it.
 * @throws IospanError where a source that was named cannot be read, or is of another machine than the log.
 */
export async function openExplainer(log: string | undefined, flags: SourceFlags): Promise<Explainer> {
  const { sysfs, deviceTree, iort, machine } = flags;
  const isNamed = [sysfs, deviceTree, iort, machine].some((each) => each !== undefined);
  if (isNamed) return await namedExplainer(log, flags);
  if (log !== undefined && log !== KMSG) return { explain: (fault) => explainFault(fault) };
  const { readTopology } = await import("../machine/read-topology.js");
  const topology = fresh(() => readTopology({}));
  return { explain: (fault) => explainFault(fault, undefined, topology()) };
}

async function namedExplainer(log: string | undefined, flags: SourceFlags): Promise<Explainer> {
  if (flags.machine !== undefined && [flags.machine, log].every(isInput)) throw oneInput();
  const [{ namedFirmware }, { openMachine }] = await Promise.all([
    import("../machine/named-sources.js"),
    import("../machine/open-machine.js"),
  ]);
  const firmware = namedFirmware(flags);
  const machine = openMachine(flags);
  const savedLog = log === undefined && machine?.isLive === false ? logOf(machine) : undefined;
  const topology = await topologyOf(machine, firmware);
  const explain: Explain = (fault) => explainFault(fault, undefined, topology);
  return savedLog === undefined ? { explain } : { explain, savedLog };
}

function isInput(file: string | undefined): boolean {
  return file === STANDARD_INPUT || file === "/dev/stdin";
}

async function topologyOf(machine: OpenMachine | undefined, firmware: readonly Topology[]): Promise<Topology> {
  if (machine === undefined) {
    const { mergeTopologies } = await import("../../topology/merge.js");
    return mergeTopologies(firmware);
  }
  const { topologyOfMachine } = await import("../../survey/machine-topology.js");
  return topologyOfMachine(machine.files, {
    name: machine.name,
    firmware: firmware.length > 0 ? firmware : undefined,
  });
}

/** This machine's log says nothing of another machine. */
function logOf({ name, saved }: OpenMachine): readonly string[] {
  if (saved?.content.log !== undefined) return saved.content.log;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${name} is another machine, and comes without its kernel log`, {
    hint: "name the log, too: a file with what dmesg or journalctl -k printed there, or - for the standard input",
  });
}

/** Without a sysfs, or the right to read it, the log has to do. */
function fresh(read: () => Topology): () => Topology | undefined {
  let last: { readonly topology: Topology | undefined; readonly at: number } | undefined;
  return () => {
    if (last === undefined || performance.now() - last.at > FRESH_MS) {
      const topology = tolerant(read);
      last = { topology, at: performance.now() };
    }
    return last.topology;
  };
}

function tolerant(read: () => Topology): Topology | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof IospanError) return undefined;
    throw error;
  }
}

function oneInput(): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "the log and the machine cannot both be the standard input", {
    hint: "put one of them into a file: iospan faults --machine machine.json -",
  });
}

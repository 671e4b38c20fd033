import { bindToVfio, type DriverBinding } from "../../machine/driver-binding.js";
import type { MachineDevice } from "../../machine/machine.js";
import type { DeviceDescription } from "../../sim/linux/description.js";
import type { SimulatedMachine } from "../../sim/simulated-machine.js";
import type { ApproachName } from "./approaches.js";
import { type FoundEngine, findEngines } from "./engines.js";
import { type Circumstances, expectation } from "./expectation.js";
import { expectedGain, isAsFastAs } from "./gain.js";
import { granuleOf } from "./granule.js";
import type { ApproachReport, DemoResult, Expectation, InterfaceReport, IommuReport, MachineReport } from "./result.js";
import { type Outcome, type TrialParts, tryApproach } from "./trial.js";

/** What {@link demonstrate} is to do. */
export interface DemoOptions extends Pick<TrialParts, "trace" | "say"> {
  /** The chip's name, for the picture. */
  readonly chip: string;
  readonly approaches: readonly ApproachName[];
}

/**
 * Tries approaches, each on a machine that has just booted, so that none sees what another left, and judges what became of
 * each.
 * @param boot makes a machine, the same each time.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a machine with nothing to do DMA with, and what `boot` and
 * binding its devices to VFIO throw.
 */
export async function demonstrate(boot: () => SimulatedMachine, options: DemoOptions): Promise<DemoResult> {
  const first = boot();
  const report = machineReport(first, findEngines(first), options.chip);
  const expected = circumstances(first, report);
  const names = report.interfaces.map(({ device }) => device);
  const approaches: ApproachReport[] = [];
  for (const approach of options.approaches) {
    const machine = boot();
    const parts = { ...options, machine, engines: findEngines(machine) };
    const outcome = await onVfio(machine, names, () => tryApproach(approach, parts));
    approaches.push(judge(outcome, expectation(approach, expected), report));
  }
  const asExpected = approaches.every((each) => each.asExpected);
  return { machine: report, approaches, asExpected, kernelLog: approaches.flatMap(({ kernelLog }) => kernelLog) };
}

/** Does something while devices are bound to VFIO, and gives them back. */
async function onVfio<T>(machine: SimulatedMachine, names: readonly string[], work: () => Promise<T>): Promise<T> {
  const bindings: DriverBinding[] = [];
  try {
    for (const name of names) bindings.push(bindToVfio(machine, name));
    return await work();
  } finally {
    for (const binding of bindings.reverse()) binding.restore();
  }
}

function circumstances({ description, syscalls }: SimulatedMachine, report: MachineReport): Circumstances {
  const { release, devices, allowUnsafeInterrupts = false } = description;
  const isInUse = ({ name }: DeviceDescription) => report.interfaces.some(({ device }) => device === name);
  const isIsolated = ({ bus, msiIsolated = bus === "pci" }: DeviceDescription) => msiIsolated;
  return {
    release,
    pageSize: syscalls.pageSize,
    granules: report.iommus.map(({ granule }) => granule),
    isolatedInterrupts: allowUnsafeInterrupts || devices.filter(isInUse).every(isIsolated),
  };
}

/** A refusal comes before anything is mapped; what fails later was not refused. */
function judge(outcome: Outcome, expected: Expectation, { gain }: MachineReport): ApproachReport {
  const { works, mappedBytes, error, throughput } = outcome;
  const isRefusal = mappedBytes === 0 && (expected.errno === null || expected.errno === error?.errno);
  const isFast = gain === null || throughput === null || isAsFastAs(throughput, gain);
  return { ...outcome, expected, asExpected: works === expected.works && (works ? isFast : isRefusal) };
}

function machineReport(machine: SimulatedMachine, engines: readonly FoundEngine[], chip: string): MachineReport {
  const interfaces = engines.flatMap((engine) => engine.interfaces);
  const names = new Set(interfaces.map(({ iommu }) => iommu?.name ?? ""));
  return {
    chip,
    release: machine.release,
    iommus: [...names].sort().map((name) => iommuReport(machine, name)),
    interfaces: interfaces.map(interfaceReport),
    engines: engines.map(({ kind, interfaces: own }) => ({ kind, interfaces: own.map(({ name }) => name) })),
    gain: expectedGain(machine, engines[0]?.interfaces.map(({ name }) => name) ?? []),
  };
}

function interfaceReport({ name, bus, iommu, group = 0 }: MachineDevice): InterfaceReport {
  return { device: name, bus, iommu: iommu?.name ?? "", group };
}

function iommuReport({ description, syscalls }: SimulatedMachine, name: string): IommuReport {
  const iommu = description.iommus.find((each) => each.name === name);
  return { name, compatible: "arm,smmu-v3", granule: granuleOf(syscalls.pageSize, iommu?.pageSizes) };
}

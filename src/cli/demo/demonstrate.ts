import type { DeviceTree } from "../../devicetree/tree.js";
import { IospanError } from "../../errors.js";
import { bindToVfio, type DriverBinding } from "../../machine/driver-binding.js";
import type { MachineDevice } from "../../machine/machine.js";
import type { DeviceDescription } from "../../sim/linux/description.js";
import type { SimulatedMachine } from "../../sim/simulated-machine.js";
import type { ApproachName } from "./approaches.js";
import { type FoundEngine, findEngines } from "./engines.js";
import { type Circumstances, expectation } from "./expectation.js";
import { expectedGain, isAsFastAs } from "./gain.js";
import { granuleOf } from "./granule.js";
import { leftOut } from "./left-out.js";
import type {
  ApproachReport,
  DemoResult,
  Expectation,
  InterfaceReport,
  IommuReport,
  LeftOutReport,
  MachineReport,
} from "./result.js";
import { survey } from "./survey.js";
import { type Outcome, type TrialParts, tryApproach } from "./trial.js";

/** What {@link demonstrate} is to do. */
export interface DemoOptions extends Pick<TrialParts, "trace" | "say"> {
  /** The chip's name, for the picture. */
  readonly chip: string;
  readonly approaches: readonly ApproachName[];
  /** What the machine was made of, to see what is not in it. */
  readonly tree?: DeviceTree;
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
  const machine = machineReport(first, options);
  const expected = circumstances(first, machine);
  const names = machine.interfaces.map(({ device }) => device);
  const { auto, space } = await onVfio(first, names, () => survey(first, names));
  const report = { ...machine, space };
  const approaches: ApproachReport[] = [];
  for (const approach of options.approaches) {
    const fresh = boot();
    const parts = { ...options, machine: fresh, engines: findEngines(fresh) };
    const outcome = await onVfio(fresh, names, () => tryApproach(approach, parts));
    approaches.push(judge(outcome, expectation(approach, expected), report));
  }
  const asExpected = approaches.every((each) => each.asExpected);
  const spans = names.length > 1 && (auto !== null || approaches.some(({ works }) => works));
  const kernelLog = approaches.flatMap((each) => each.kernelLog);
  return { machine: report, approaches, asExpected, spans, auto, kernelLog };
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

function circumstances(
  { description, syscalls }: SimulatedMachine,
  report: Omit<MachineReport, "space">,
): Circumstances {
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

function machineReport(machine: SimulatedMachine, { chip, tree }: DemoOptions): Omit<MachineReport, "space"> {
  const engines: readonly FoundEngine[] = findEngines(machine);
  const interfaces = engines.flatMap((engine) => engine.interfaces);
  const used = interfaces.map(({ name }) => name);
  const unused = leftOut(machine, used, tree);
  if (engines.length === 0) throw nothingToDo(unused);
  const names = new Set(interfaces.map(({ iommu }) => iommu?.name ?? ""));
  return {
    chip,
    release: machine.release,
    iommus: [...names].sort().map((name) => iommuReport(machine, name)),
    interfaces: interfaces.map(interfaceReport),
    engines: engines.map(({ kind, interfaces: own }) => ({ kind, interfaces: own.map(({ name }) => name) })),
    gain: expectedGain(machine, engines[0]?.interfaces.map(({ name }) => name) ?? []),
    leftOut: unused,
  };
}

function nothingToDo(unused: readonly LeftOutReport[]): IospanError {
  const reasons = unused.map(({ device, why }) => `; ${device}: ${why}`).join("");
  const message = `the chip has nothing behind an SMMU that can do DMA here${reasons}`;
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", message, {
    hint: "give it a dual-path engine, or PCI functions 1234:11e8 (edu), as the chips that come with iospan have",
  });
}

function interfaceReport({ name, bus, iommu, group = 0 }: MachineDevice): InterfaceReport {
  return { device: name, bus, iommu: iommu?.name ?? "", group };
}

function iommuReport({ description, syscalls }: SimulatedMachine, name: string): IommuReport {
  const iommu = description.iommus.find((each) => each.name === name);
  return { name, compatible: "arm,smmu-v3", granule: granuleOf(syscalls.pageSize, iommu?.pageSizes) };
}

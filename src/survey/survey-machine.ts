import { findHolders, type HeldGroup } from "../machine/find-holders.js";
import type { GroupHolder } from "../machine/group-holders.js";
import type { MachineFiles } from "../machine/machine-files.js";
import { OptionalFiles } from "../machine/optional-files.js";
import type { Topology, TopologyDevice } from "../topology/topology.js";
import { readDeviceFacts } from "./device-facts.js";
import { devicesOfInterest, type WantedDevices } from "./devices-of-interest.js";
import { type MachineTopologyOptions, topologyOfMachine } from "./machine-topology.js";
import { readHugePages, readMemory } from "./memory.js";
import { readPageSize } from "./page-size.js";
import { readProcessFacts } from "./process-facts.js";
import { readRelease } from "./release.js";
import type { DeviceFacts, GroupFacts, KernelFacts, Survey } from "./survey.js";
import { readVfioFacts } from "./vfio-facts.js";

/** Who has groups open, for each group that is asked for; undefined where nobody can tell. */
export type HolderSearch = (
  groups: readonly HeldGroup[],
) => ReadonlyMap<number, readonly GroupHolder[] | undefined> | undefined;

/** How {@link surveyMachine} reads. */
export interface SurveyOptions extends MachineTopologyOptions {
  /** Devices that more is wanted of, besides those that VFIO has or shall have: names, paths or aliases; none where absent. */
  readonly devices?: WantedDevices | undefined;
  /** Looks into /proc where absent. */
  readonly findHolders?: HolderSearch | undefined;
}

/**
 * All that files tell of a machine: its topology, its kernel, and the process that asks. Nothing is opened but files to be read,
 * and nothing is changed. What cannot be read, for want of rights or because the kernel is too old, is undefined.
 * @param files a machine's: `linux().syscalls`, a simulated machine's `syscalls`, a copy's or a saved one's.
 * @throws IospanError as `topologyOfSysfs`, where there is no sysfs.
 */
export function surveyMachine(files: MachineFiles, options: SurveyOptions = {}): Survey {
  const topology = topologyOfMachine(files, options);
  return { topology, kernel: readKernelFacts(new OptionalFiles(files), topology, options) };
}

/** What is known where only firmware was read. */
export function surveyOfTopology(topology: Topology): Survey {
  return { topology, kernel: undefined };
}

function readKernelFacts(files: OptionalFiles, topology: Topology, options: SurveyOptions): KernelFacts {
  const wanted = devicesOfInterest(topology, options.devices ?? [], files);
  const facts = new Map(wanted.map((device) => [device.path, readDeviceFacts(files, device)] as const));
  const search = options.findHolders ?? ((groups: readonly HeldGroup[]) => findHolders(files, groups));
  return {
    release: readRelease(files),
    commandLine: files.text("/proc/cmdline"),
    pageSize: readPageSize(files),
    memory: readMemory(files),
    hugePages: readHugePages(files),
    vfio: readVfioFacts(files),
    process: readProcessFacts(files),
    groups: groupFacts(wanted, facts, search),
    devices: facts,
    log: undefined,
  };
}

function groupFacts(
  wanted: readonly TopologyDevice[],
  facts: ReadonlyMap<string, DeviceFacts>,
  search: HolderSearch,
): ReadonlyMap<number, GroupFacts> {
  const members = new Map<number, TopologyDevice[]>();
  for (const device of wanted) {
    if (typeof device.group !== "number") continue;
    const list = members.get(device.group);
    if (list === undefined) members.set(device.group, [device]);
    else list.push(device);
  }
  const groups = [...members]
    .sort(([a], [b]) => a - b)
    .map(([number, devices]): HeldGroup => {
      const vfioDevices = devices.flatMap(({ path }) => facts.get(path)?.vfioDevice ?? []);
      return { number, devices: devices.map(({ name }) => name), vfioDevices };
    });
  const holders = search(groups);
  return new Map(groups.map(({ number }) => [number, { holders: holders?.get(number), answer: undefined }] as const));
}

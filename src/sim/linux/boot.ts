import { Clock } from "../hw/clock.js";
import { PhysicalMemory } from "../hw/physical-memory.js";
import { buildDevices } from "./build.js";
import type { MachineDescription } from "./description.js";
import { Bus } from "./drivers/bus.js";
import type { KernelDevice } from "./drivers/device.js";
import { type Driver, ordinaryDriver } from "./drivers/driver.js";
import { NullFile } from "./files/plain-files.js";
import { Smmu } from "./iommu/smmu.js";
import { SmmuEvents } from "./iommu/smmu-events.js";
import { KernelLog } from "./kernel-log.js";
import { HugePagePool } from "./mm/huge-pages.js";
import { MemoryCalls } from "./mm/memory-calls.js";
import { Process } from "./process.js";
import { type Profile, profileOf } from "./profile.js";
import { devicePath } from "./sysfs/paths.js";
import { procfs } from "./sysfs/procfs.js";
import { sysfs } from "./sysfs/sysfs.js";
import { directory, FileTree, type Node } from "./sysfs/tree.js";
import { Vfio } from "./vfio/vfio.js";

const DEFAULT_PAGE_SIZE = 4096;
const DEFAULT_MEMLOCK = 8 * 2 ** 20;
const DEFAULT_FILES = 1024;
const DEFAULT_DMA_ENTRIES = 65535;

/** A kernel that runs, in parts. */
export interface Booted {
  readonly profile: Profile;
  readonly clock: Clock;
  readonly log: KernelLog;
  readonly physical: PhysicalMemory;
  readonly process: Process;
  readonly memory: MemoryCalls;
  readonly files: FileTree;
  readonly vfio: Vfio;
  readonly devices: readonly KernelDevice[];
}

/** Builds the machine and starts its kernel: devices are on their drivers, one process runs. */
export function boot(description: MachineDescription): Booted {
  const profile = profileOf(description.release);
  const clock = new Clock();
  const log = new KernelLog();
  const physical = new PhysicalMemory(description.pageSize ?? DEFAULT_PAGE_SIZE);
  const events = new SmmuEvents(log, profile, clock);
  const iommus = description.iommus.map((iommu, index) => new Smmu(iommu, index, { profile, log, events }));
  const { devices, groups } = buildDevices(description, { physical, clock, log, iommus });
  const process = startProcess(description, physical);
  const pools = hugePagePools(description);
  const parameters = moduleParameters(description);
  const type1Kernel = { profile, log, physical, process, parameters: parameters.type1Parameters };
  const vfio = new Vfio(type1Kernel, parameters.platformParameters, devicePath);
  const buses = startBuses(devices, vfio, log);
  const showVfioDevices = profile.vfioDeviceClass;
  const sys = sysfs({ buses, devices, groups, iommus, pools, vfio, showVfioDevices, ...parameters });
  const proc = procfs(process, profile.release, physical.pageSize);
  const files = new FileTree(directory({ sys, proc, dev: deviceNodes(vfio) }));
  return { profile, clock, log, physical, process, memory: new MemoryCalls(physical, pools), files, vfio, devices };
}

function moduleParameters(description: MachineDescription) {
  const { dmaEntryLimit = DEFAULT_DMA_ENTRIES, allowUnsafeInterrupts = false, resetRequired = true } = description;
  return { type1Parameters: { dmaEntryLimit, allowUnsafeInterrupts }, platformParameters: { resetRequired } };
}

function startProcess(description: MachineDescription, physical: PhysicalMemory): Process {
  const { memlock = DEFAULT_MEMLOCK, maxFds = DEFAULT_FILES, capabilities = [] } = description;
  return new Process({ memlock, files: maxFds, capabilities }, physical);
}

function hugePagePools({ hugepages2M = 0, hugepages1G = 0 }: MachineDescription): readonly HugePagePool[] {
  return [new HugePagePool(2 ** 21, hugepages2M), new HugePagePool(2 ** 30, hugepages1G)];
}

/** Drivers that the description names are there, and know the devices that it binds to them. */
function startBuses(devices: readonly KernelDevice[], vfio: Vfio, log: KernelLog): readonly Bus[] {
  return (["pci", "platform"] as const).map((name) => {
    const own = devices.filter((device) => device.bus === name);
    const vfioDrivers = vfio.drivers().filter(({ bus }) => bus === name);
    const bus = new Bus(name, own, [...vfioDrivers, ...ordinaryDrivers(name, own, vfioDrivers)], log);
    for (const device of own) bindAtBoot(bus, device);
    return bus;
  });
}

function ordinaryDrivers(bus: Driver["bus"], devices: readonly KernelDevice[], others: readonly Driver[]): Driver[] {
  const named = new Set(devices.map(({ description }) => description.driver).filter((name) => name !== undefined));
  if (bus === "pci") named.add("pci-stub");
  for (const { name } of others) named.delete(name);
  return [...named].map((name) =>
    ordinaryDriver(name, bus, (device) => name !== "pci-stub" && device.description.driver === name),
  );
}

/** As udev and driverctl would. What a driver refuses stays unbound, with a line in the log. */
function bindAtBoot(bus: Bus, device: KernelDevice): void {
  const driver = bus.drivers.find(({ name }) => name === device.description.driver);
  if (driver === undefined) return;
  if (!driver.matches(device)) device.driverOverride = driver.name;
  bus.probe(device.name);
}

function deviceNodes(vfio: Vfio): Node {
  const groups = () => vfio.groups.map((group) => [String(group.iommuGroup.id), openable(() => group.open())] as const);
  return directory({
    null: openable(() => new NullFile()),
    vfio: directory(() => ({ ...Object.fromEntries(groups()), vfio: openable(() => vfio.openContainer()) })),
  });
}

function openable(open: Extract<Node, { kind: "device" }>["open"]): Node {
  return { kind: "device", open };
}

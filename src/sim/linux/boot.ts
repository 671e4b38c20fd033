import { IospanError } from "../../errors.js";
import { Clock } from "../hw/clock.js";
import { Interconnect } from "../hw/interconnect.js";
import { PhysicalMemory } from "../hw/physical-memory.js";
import { REGISTER_FRAME_SIZE } from "../hw/smmu/registers.js";
import { type BuiltDevices, buildDevices } from "./build.js";
import { defaultMemory } from "./default-memory.js";
import type { ContainerProvider, DeviceDescription, MachineDescription, MemoryDescription } from "./description.js";
import { Bus } from "./drivers/bus.js";
import type { KernelDevice } from "./drivers/device.js";
import { type Driver, ordinaryDriver } from "./drivers/driver.js";
import { NullFile } from "./files/plain-files.js";
import type { Smmu } from "./iommu/smmu.js";
import { startSmmus } from "./iommu/start-smmus.js";
import { Iommufds } from "./iommufd/iommufds.js";
import { InterruptTranslationService, ITS_ADDRESS, ITS_FRAME_SIZE } from "./irq/its.js";
import { KernelLog } from "./kernel-log.js";
import { HugePagePool } from "./mm/huge-pages.js";
import { MemoryCalls } from "./mm/memory-calls.js";
import { PhysicalLayout } from "./physical-layout.js";
import { Process } from "./process.js";
import { type Profile, profileOf } from "./profile.js";
import { Refusal } from "./refusal.js";
import { devicePath } from "./sysfs/paths.js";
import { procfs } from "./sysfs/procfs.js";
import { sysfs } from "./sysfs/sysfs.js";
import { directory, FileTree, link, type Node } from "./sysfs/tree.js";
import { isVirtual } from "./vfio/pci-buses.js";
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
  /** Undefined where the kernel has no `/dev/iommu`. */
  readonly iommufds: Iommufds | undefined;
  readonly devices: readonly KernelDevice[];
  readonly iommus: readonly Smmu[];
  readonly buses: readonly Bus[];
}

/** Builds the machine and starts its kernel: devices are on their drivers, one process runs. */
export function boot(description: MachineDescription): Booted {
  const profile = profileOf(description.release);
  const clock = new Clock();
  const log = new KernelLog();
  const { memory: banks = defaultMemory(description.iommus) } = description;
  const physical = new PhysicalMemory(description.pageSize ?? DEFAULT_PAGE_SIZE, banks);
  const { devices, groups, iommus } = buildHardware(description, { profile, clock, log, physical });
  const process = startProcess(description, physical);
  const pools = hugePagePools(description);
  const parameters = moduleParameters(description, profile);
  const type1Kernel = { profile, log, physical, process, parameters: parameters.type1Parameters };
  const { platformParameters: platform, iommufdParameters } = parameters;
  const iommufds =
    iommufdParameters && new Iommufds({ profile, log, physical, process, parameters: iommufdParameters });
  const { container = "type1", vfioCdev = true } = description;
  const cdev = iommufds !== undefined && profile.vfioCdev && vfioCdev;
  const { vfioParameters } = parameters;
  const machine = { clock, devices, iommuGroups: groups };
  const vfio = new Vfio(type1Kernel, { ...machine, parameters: vfioParameters, platform, cdev, sysfsPath: devicePath });
  const buses = startBuses(devices, vfio, log);
  const showVfioDevices = profile.vfioDeviceClass;
  const content = { buses, devices, groups, iommus, pools, vfio, showVfioDevices, ...parameters };
  // The backend is built with VFIO's own containers only (drivers/vfio/Kconfig).
  const sys = sysfs(container === "iommufd" ? { ...content, type1Parameters: undefined } : content);
  const ram = banks.reduce((sum, { size }) => sum + size, 0);
  const proc = procfs(process, { release: profile.release, pageSize: physical.pageSize, memory: ram });
  const files = new FileTree(directory({ sys, proc, dev: deviceNodes(vfio, iommufds, container) }));
  const memory = new MemoryCalls(physical, pools);
  return { profile, clock, log, physical, process, memory, files, vfio, iommufds, devices, iommus, buses };
}

interface Essentials {
  readonly profile: Profile;
  readonly clock: Clock;
  readonly log: KernelLog;
  readonly physical: PhysicalMemory;
}

/** What is soldered to the board, with the drivers of the SMMUs: devices come after what they are behind. */
function buildHardware(
  description: MachineDescription,
  essentials: Essentials,
): BuiltDevices & { iommus: readonly Smmu[] } {
  const { clock, log, physical } = essentials;
  const layout = layOut(description);
  try {
    const its = new InterruptTranslationService(layout.place(ITS_FRAME_SIZE, ITS_ADDRESS, "the ITS"), physical);
    const interconnect = new Interconnect({ clock, ...description.interconnect });
    const iommus = startSmmus(description, { ...essentials, layout });
    return { iommus, ...buildDevices(description, { physical, layout, interconnect, its, clock, log, iommus }) };
  } catch (error) {
    if (error instanceof Refusal) throw cannotStart(error);
    throw error;
  }
}

/** What has its place given: it is taken before anything looks for one. */
function layOut({ iommus, memory = defaultMemory(iommus), devices }: MachineDescription): PhysicalLayout {
  const layout = new PhysicalLayout(memory);
  for (const { name, registers } of iommus) {
    if (registers !== undefined) layout.claim(registers, REGISTER_FRAME_SIZE, name);
  }
  for (const device of devices) {
    for (const { start, size } of givenFrames(device)) layout.claim(start, size, device.name);
  }
  return layout;
}

function givenFrames(device: DeviceDescription): readonly MemoryDescription[] {
  if (device.bus === "platform") return device.resources;
  const bars = device.model.pci?.bars ?? [];
  return bars.flatMap(({ index, size }) => {
    const start = device.barAddresses?.get(index);
    return start === undefined ? [] : { start, size };
  });
}

function cannotStart(cause: Refusal): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `the kernel cannot start: ${cause.message}`, {
    hint: "give the machine more memory below the SMMUs' highest physical address",
    cause,
  });
}

function moduleParameters(description: MachineDescription, profile: Profile) {
  const { dmaEntryLimit = DEFAULT_DMA_ENTRIES, allowUnsafeInterrupts = false, resetRequired = true } = description;
  const { iommufd = true, iommufdUnsafeInterrupts = false } = description;
  return {
    type1Parameters: { dmaEntryLimit, allowUnsafeInterrupts },
    platformParameters: { resetRequired },
    vfioParameters: { unsafeNoiommu: description.unsafeNoiommu ?? false },
    iommufdParameters: iommufd && profile.iommufd ? { allowUnsafeInterrupts: iommufdUnsafeInterrupts } : undefined,
  };
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
  const buses = (["pci", "platform"] as const).map((name) => {
    const own = devices.filter((device) => device.bus === name);
    const vfioDrivers = vfio.drivers().filter(({ bus }) => bus === name);
    const bus = new Bus(name, own, [...vfioDrivers, ...ordinaryDrivers(name, own, vfioDrivers)], log);
    // Virtual functions come when their physical function is there.
    const virtual = own.filter(isVirtual);
    for (const device of own.filter((each) => !virtual.includes(each))) bindAtBoot(bus, device);
    for (const device of virtual) bindAtBoot(bus, device);
    return bus;
  });
  vfio.start();
  return buses;
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

function deviceNodes(vfio: Vfio, iommufds: Iommufds | undefined, provider: ContainerProvider): Node {
  const groups = () => vfio.groups.map((group) => [group.nodeName, openable(() => group.open())] as const);
  const cdevs = () => vfio.cdevs.map((device) => [device.nodeName, openable(() => vfio.openCdev(device))] as const);
  const devices = () => (vfio.cdevs.length > 0 ? directory(Object.fromEntries(cdevs())) : undefined);
  const container = containerNode(vfio, iommufds, provider);
  return directory({
    null: openable(() => new NullFile()),
    iommu: iommufds && openable(() => iommufds.open()),
    vfio: directory(() => ({ ...Object.fromEntries(groups()), vfio: container, devices: devices() })),
  });
}

/** `/dev/vfio/vfio`. */
function containerNode(vfio: Vfio, iommufds: Iommufds | undefined, provider: ContainerProvider): Node {
  if (provider === "type1") return openable(() => vfio.openContainer());
  if (iommufds === undefined) throw noIommufd(provider);
  return provider === "iommufd" ? openable(() => iommufds.openContainer()) : link("/dev/iommu");
}

function noIommufd(provider: ContainerProvider): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `container is ${provider}, and there is no iommufd`, {
    hint: "take a release from 6.2 on, and leave `iommufd` on",
  });
}

function openable(open: Extract<Node, { kind: "device" }>["open"]): Node {
  return { kind: "device", open };
}

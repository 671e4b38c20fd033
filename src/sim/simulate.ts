import { readDeviceTree } from "../devicetree/device-tree.js";
import type { TreeNode } from "../devicetree/node.js";
import type { DeviceTree } from "../devicetree/tree.js";
import { IospanError } from "../errors.js";
import { ordinaryDriverOf } from "./chip/boot-drivers.js";
import { type Chip, readChip } from "./chip/chip.js";
import type { Bugs, DeviceDescription, MachineDescription } from "./linux/description.js";
import { checkContainer, checkHugePages, checkNames, checkNumbers } from "./option-checks.js";
import { DEFAULT_RELEASE, fullRelease } from "./releases.js";
import type { SimulatedBugs, SimulateOptions } from "./simulate-options.js";
import { SimulatedMachine } from "./simulated-machine.js";

/**
 * Makes a machine of a device tree and boots Linux on it.
 * @param chip a device tree: source, as text or bytes, or a blob
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` for a device tree that is malformed or describes what cannot be simulated,
 * with the node's path; `ERR_IOSPAN_INVALID_ARGUMENT` for options that do not fit: among them `drivers: "vfio"` where
 * VFIO does not take a device that is behind an SMMU.
 */
export function simulate(chip: string | Uint8Array, options: SimulateOptions = {}): SimulatedMachine {
  const { release = DEFAULT_RELEASE, bugs, drivers, devices, ...kernel } = options;
  checkNames(options);
  checkNumbers(kernel);
  checkContainer(kernel);
  const read = readChip(readDeviceTree(chip), devices);
  checkHugePages(kernel, read.memory);
  const description: MachineDescription = {
    capabilities: ["CAP_IPC_LOCK"],
    ...kernel,
    release: fullRelease(release),
    memory: read.memory,
    interconnect: read.interconnect,
    iommus: read.smmus.map((smmu) => smmu.description),
    devices: boundDevices(read, drivers),
    ...(bugs && { bugs: namedBugs(read, bugs) }),
  };
  const machine = new SimulatedMachine(read, description);
  if (drivers === "vfio") requireBound(machine);
  return machine;
}

/** What VFIO does not take would be missing without a word. */
function requireBound({ interfaces, syscalls, kernelLog }: SimulatedMachine): void {
  for (const { name, bus } of interfaces) {
    if (syscalls.readDirectory(`/sys/bus/${bus}/devices/${name}`).includes("driver")) continue;
    const said = kernelLog.filter((line) => line.includes(name)).join("; ");
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `drivers: vfio-${bus} does not take ${name}: ${said}`, {
      device: name,
      hint:
        "a platform device takes iospan,vfio-reset in its node, or { resetRequired: false }; an SMMU dma-coherent; " +
        "or name the drivers one by one: { drivers: { … } }",
    });
  }
}

function boundDevices(chip: Chip, drivers: SimulateOptions["drivers"] = {}): readonly DeviceDescription[] {
  const descriptions = chip.devices.map(({ description }) => description);
  if (drivers === "vfio") return descriptions.map((each) => bound(each, vfioDriverOf(each)));
  const chosen = new Map(Object.entries(drivers).map(([name, driver]) => [findDevice(chip, name), driver] as const));
  return descriptions.map((each) => {
    const driver = chosen.get(each);
    if (driver) checkDriver(each, driver);
    return bound(each, driver === undefined ? ordinaryDriverOf(each) : (driver ?? undefined));
  });
}

/** Any other name may be a kernel driver's, but these mean VFIO's, of which a bus has one. */
function checkDriver({ name, bus }: DeviceDescription, driver: string): void {
  const own = `vfio-${bus}`;
  if (driver === own || !/vfio/i.test(driver)) return;
  const problem = `drivers: ${name} is on the ${bus} bus, which has no ${JSON.stringify(driver)}`;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", problem, { device: name, hint: `take ${own}` });
}

function bound(description: DeviceDescription, driver: string | undefined): DeviceDescription {
  return driver === undefined ? description : { ...description, driver };
}

function vfioDriverOf(description: DeviceDescription): string | undefined {
  if (description.model.pci?.bridge === true) return ordinaryDriverOf(description);
  return `vfio-${description.bus}`;
}

function findDevice({ tree, devices }: Chip, name: string): DeviceDescription {
  const node = findNode(tree, name);
  const found = devices.find((device) => device.node === node || device.description.name === name);
  return (
    found?.description ??
    unknown(
      "drivers",
      name,
      devices.map(({ description }) => description.name),
    )
  );
}

function namedBugs(chip: Chip, { mapSkips, unmapKeepsTlb, attachesNowhere }: SimulatedBugs): Bugs {
  return {
    ...(mapSkips !== undefined && { mapSkips: smmuName(chip, mapSkips) }),
    ...(unmapKeepsTlb !== undefined && { unmapKeepsTlb: smmuName(chip, unmapKeepsTlb) }),
    ...(attachesNowhere !== undefined && { attachesNowhere }),
  };
}

function smmuName({ tree, smmus }: Chip, wanted: string): string {
  const node = findNode(tree, wanted);
  const found = smmus.find(
    (smmu) => smmu.node === node || smmu.description.name === wanted || smmu.description.device === wanted,
  );
  return (
    found?.description.name ??
    unknown(
      "bugs",
      wanted,
      smmus.map(({ node: { labels, path } }) => labels[0] ?? path),
    )
  );
}

/** By label, path or alias. */
function findNode(tree: DeviceTree, name: string): TreeNode | undefined {
  return tree.byLabel(name) ?? tree.find(name);
}

function unknown(option: string, name: string, known: readonly string[]): never {
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${option}: the machine has no ${JSON.stringify(name)}`, {
    hint: `it has ${known.join(", ")}`,
  });
}

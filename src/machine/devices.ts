import { IospanError } from "../errors.js";
import { DeviceDirectory } from "./device-directory.js";
import { isPciName, kernelName, nearMisses } from "./device-name.js";
import { type BusType, busTypes, type DeviceState, type Machine, type MachineDevice, type PciIds } from "./machine.js";
import { readNames } from "./sysfs.js";

/**
 * Reads what sysfs says about one device.
 * @param name the kernel's name, a PCI address without domain or in upper case, or a path in sysfs
 * @throws IospanError `ERR_IOSPAN_NO_DEVICE` when there is none, with the names it may have been meant for.
 */
export function findDevice(machine: Machine, name: string): MachineDevice {
  return readDevice(findDirectory(machine, name));
}

/** All devices of the buses that iospan knows, or of one of them, by bus and name. */
export function listDevices(machine: Machine, { bus }: { readonly bus?: BusType } = {}): readonly MachineDevice[] {
  const buses = bus === undefined ? busTypes : [bus];
  return buses.flatMap((each) =>
    readNames(machine, `/sys/bus/${each}/devices`)
      .map((name) => DeviceDirectory.open(machine, each, name))
      .filter((directory) => directory !== undefined)
      .map(readDevice),
  );
}

/**
 * The device of exactly this name, on whichever bus it is.
 * @internal
 */
export function lookUpDevice(machine: Machine, name: string): MachineDevice | undefined {
  const directory = lookUpDirectory(machine, name);
  return directory === undefined ? undefined : readDevice(directory);
}

/**
 * {@link findDevice} for those who do not care what kind of device it is.
 * @internal
 */
export function findDeviceState(machine: Machine, name: string): DeviceState {
  return readState(findDirectory(machine, name));
}

/**
 * {@link lookUpDevice} for those who do not care what kind of device it is.
 * @internal
 */
export function lookUpDeviceState(machine: Machine, name: string): DeviceState | undefined {
  const directory = lookUpDirectory(machine, name);
  return directory === undefined ? undefined : readState(directory);
}

/** What decides who drives a device. */
export type DriverState = Pick<DeviceState, "driver" | "driverOverride">;

/**
 * Who drives the device now.
 * @throws IospanError `ERR_IOSPAN_NO_DEVICE` when it is gone.
 * @internal
 */
export function readDriverState(machine: Machine, { bus, name }: DeviceState): DriverState {
  const directory = DeviceDirectory.open(machine, bus, name);
  if (directory === undefined) throw noSuchDevice(machine, name);
  return driverState(directory);
}

/**
 * What a PCI device says it is; undefined where it does not tell.
 * @internal
 */
export function readPciIds(machine: Machine, { bus, name }: DeviceState): PciIds | undefined {
  const directory = DeviceDirectory.open(machine, bus, name);
  return directory === undefined ? undefined : pciIds(directory);
}

function findDirectory(machine: Machine, name: string): DeviceDirectory {
  const wanted = kernelName(name);
  const directory = lookUpDirectory(machine, wanted);
  if (directory === undefined) throw noSuchDevice(machine, wanted);
  return directory;
}

function lookUpDirectory(machine: Machine, name: string): DeviceDirectory | undefined {
  const buses = isPciName(name) ? busTypes : busTypes.toReversed();
  for (const bus of buses) {
    const directory = DeviceDirectory.open(machine, bus, name);
    if (directory !== undefined) return directory;
  }
  return undefined;
}

function readDevice(directory: DeviceDirectory): MachineDevice {
  return {
    ...readState(directory),
    pci: directory.bus === "pci" ? pciIds(directory) : undefined,
    compatible: readCompatible(directory),
    modalias: directory.attribute("modalias"),
  };
}

function readState(directory: DeviceDirectory): DeviceState {
  const { name, bus, path } = directory;
  const group = directory.link("iommu_group");
  const iommu = directory.link("iommu");
  return {
    name,
    bus,
    path,
    ...driverState(directory),
    group: group === undefined ? undefined : Number(group),
    iommu: iommu === undefined ? undefined : { name: iommu },
    // VFIO makes such groups only for devices that have no IOMMU (drivers/vfio/group.c, vfio_group_find_or_alloc).
    noiommu: iommu === undefined && directory.attribute("iommu_group/name") === "vfio-noiommu",
    vfioDevice: directory.entries("vfio-dev")[0],
  };
}

function driverState(directory: DeviceDirectory): DriverState {
  return { driver: directory.link("driver"), driverOverride: readDriverOverride(directory) };
}

/** The kernel prints a missing override as C's printf prints a null pointer. */
function readDriverOverride(directory: DeviceDirectory): string | undefined {
  const text = directory.attribute("driver_override");
  return text === "(null)" || text === "" ? undefined : text;
}

function pciIds(directory: DeviceDirectory): PciIds | undefined {
  const [vendor, device, code] = ["vendor", "device", "class"].map((file) => directory.attribute(file));
  if (vendor === undefined || device === undefined || code === undefined) return undefined;
  return { vendor: Number(vendor), device: Number(device), class: Number(code) };
}

/** A device tree's string lists end each string with a NUL. */
function readCompatible(directory: DeviceDirectory): readonly string[] | undefined {
  return directory
    .attribute("of_node/compatible")
    ?.split("\0")
    .filter((name) => name !== "");
}

function noSuchDevice(machine: Machine, wanted: string): IospanError {
  const names = busTypes.flatMap((bus) => readNames(machine, `/sys/bus/${bus}/devices`));
  const meant = nearMisses(wanted, names);
  const question = meant.length === 0 ? "" : `; did you mean ${meant.join(" or ")}?`;
  return new IospanError("ERR_IOSPAN_NO_DEVICE", `there is no PCI or platform device ${wanted}${question}`, {
    device: wanted,
    hint: "list the devices: lspci -D; ls /sys/bus/pci/devices /sys/bus/platform/devices",
  });
}

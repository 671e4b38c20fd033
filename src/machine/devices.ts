import { IospanError } from "../errors.js";
import { kernelName, nearMisses } from "./device-name.js";
import { type BusType, busTypes, type Machine, type MachineDevice, type PciIds } from "./machine.js";
import { hasDirectory, readAttribute, readLinkName, readNames } from "./sysfs.js";

/**
 * Reads what sysfs says about one device.
 * @param name the kernel's name, a PCI address without domain or in upper case, or a path in sysfs
 * @throws IospanError `ERR_IOSPAN_NO_DEVICE` when there is none, with the names it may have been meant for.
 */
export function findDevice(machine: Machine, name: string): MachineDevice {
  const wanted = kernelName(name);
  const device = lookUpDevice(machine, wanted);
  if (device === undefined) throw noSuchDevice(machine, wanted);
  return device;
}

/**
 * The device of exactly this name, on whichever bus it is.
 * @internal
 */
export function lookUpDevice(machine: Machine, name: string): MachineDevice | undefined {
  for (const bus of busTypes) {
    const device = readDevice(machine, bus, name);
    if (device !== undefined) return device;
  }
  return undefined;
}

/** All devices of the buses that iospan knows, or of one of them, by bus and name. */
export function listDevices(machine: Machine, { bus }: { readonly bus?: BusType } = {}): readonly MachineDevice[] {
  const buses = bus === undefined ? busTypes : [bus];
  return buses.flatMap((each) =>
    readNames(machine, `/sys/bus/${each}/devices`)
      .map((name) => readDevice(machine, each, name))
      .filter((device) => device !== undefined),
  );
}

/** Undefined when the bus has no such device, or has it no longer: devices come and go while a list is read. */
function readDevice(machine: Machine, bus: BusType, name: string): MachineDevice | undefined {
  const path = `/sys/bus/${bus}/devices/${name}`;
  if (!hasDirectory(machine, path)) return undefined;
  const group = readLinkName(machine, `${path}/iommu_group`);
  const iommu = readLinkName(machine, `${path}/iommu`);
  return {
    name,
    bus,
    path,
    driver: readLinkName(machine, `${path}/driver`),
    group: group === undefined ? undefined : Number(group),
    iommu: iommu === undefined ? undefined : { name: iommu },
    noiommu: readAttribute(machine, `${path}/iommu_group/name`) === "vfio-noiommu",
    driverOverride: readDriverOverride(machine, path),
    vfioDevice: readNames(machine, `${path}/vfio-dev`)[0],
    pci: bus === "pci" ? readPciIds(machine, path) : undefined,
    compatible: readCompatible(machine, path),
    modalias: readAttribute(machine, `${path}/modalias`),
  };
}

/** The kernel prints a missing override as C's printf prints a null pointer. */
function readDriverOverride(machine: Machine, path: string): string | undefined {
  const text = readAttribute(machine, `${path}/driver_override`);
  return text === "(null)" || text === "" ? undefined : text;
}

function readPciIds(machine: Machine, path: string): PciIds | undefined {
  const [vendor, device, code] = ["vendor", "device", "class"].map((file) => readAttribute(machine, `${path}/${file}`));
  if (vendor === undefined || device === undefined || code === undefined) return undefined;
  return { vendor: Number(vendor), device: Number(device), class: Number(code) };
}

/** A device tree's string lists end each string with a NUL. */
function readCompatible(machine: Machine, path: string): readonly string[] | undefined {
  return readAttribute(machine, `${path}/of_node/compatible`)
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

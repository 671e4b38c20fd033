import { IospanError } from "../errors.js";
import type { BusType, DeviceState, Machine } from "./machine.js";
import type { Snapshot } from "./snapshot.js";
import { hasDirectory, readNames } from "./sysfs.js";

/** The driver that hands out any device of a bus. */
export const vfioDrivers: Readonly<Record<BusType, string>> = { pci: "vfio-pci", platform: "vfio-platform" };

const harmlessDrivers: readonly string[] = ["pcieport", "pci-stub"];

/**
 * Whether a driver does no DMA of its own, so that a device on it leaves its group to VFIO: its struct device_driver sets
 * driver_managed_dma (include/linux/device/driver.h).
 * @internal
 */
export function leavesGroup(driver: string): boolean {
  return harmlessDrivers.includes(driver);
}

/** Whether the device is bound to a driver that hands it to user space: VFIO's own, or a vendor's variant such as `mlx5_vfio_pci`. */
export function hasVfioDriver(device: DeviceState): boolean {
  return device.driver !== undefined && (device.vfioDevice !== undefined || device.driver.includes("vfio"));
}

/** The shell commands that bind a device to a VFIO driver, on one line. */
export function bindCommands(device: DeviceState, driver: string = vfioDrivers[device.bus]): string {
  const { name, bus, path } = device;
  const commands = [`echo ${driver} > ${path}/driver_override`, `echo ${name} > /sys/bus/${bus}/drivers_probe`];
  if (device.driver !== undefined) commands.splice(1, 0, `echo ${name} > ${path}/driver/unbind`);
  return commands.join("; ");
}

/** Whether the kernel has the driver, built in or as a loaded module. */
export function isDriverLoaded(machine: Machine, bus: BusType, driver: string): boolean {
  return hasDirectory(machine, `/sys/bus/${bus}/drivers/${driver}`);
}

/** How to get a driver that is not loaded; says so when it is there under its name with `-` for `_`, or the reverse. */
export function loadDriverHint(machine: Machine, bus: BusType, driver: string): string {
  const plain = (name: string) => name.replaceAll("_", "-");
  const loaded = readNames(machine, `/sys/bus/${bus}/drivers`).find((name) => plain(name) === plain(driver));
  if (loaded !== undefined) return `the driver's name is ${loaded}`;
  const option =
    driver === "vfio-platform" ? " (a kernel built with CONFIG_VFIO_PLATFORM; many distributions' are not)" : "";
  return `load it: modprobe ${driver}${option}`;
}

/**
 * Guarantees that VFIO may take the device: it is on a VFIO driver, and no companion in its group on a driver that does DMA of its own.
 * @throws IospanError `ERR_IOSPAN_WRONG_DRIVER` or `ERR_IOSPAN_GROUP_NOT_VIABLE`, with the commands that bind each device.
 */
export function requireVfioDriver(snapshot: Snapshot, device: DeviceState): void {
  if (!hasVfioDriver(device)) throw wrongDriver(snapshot.machine, device);
  if (device.group === undefined) return;
  const foreign = snapshot.groupDevices(device.group).filter(spoilsGroup);
  if (foreign.length > 0) throw groupNotViable(snapshot.machine, device, foreign);
}

/** Whether a device of the group is on a driver that does DMA of its own, which keeps VFIO from the whole group. */
export function spoilsGroup(device: DeviceState): boolean {
  return device.driver !== undefined && !leavesGroup(device.driver) && !hasVfioDriver(device);
}

function wrongDriver(machine: Machine, device: DeviceState): IospanError {
  const { name, driver, driverOverride, bus } = device;
  const override = driverOverride === undefined ? "" : ` (its driver_override is ${driverOverride})`;
  const state = driver === undefined ? `has no driver${override}` : `is bound to ${driver}`;
  const message = `${name} ${state}; it must be bound to ${vfioDrivers[bus]} or a variant of it${groupNote(device)}`;
  const hint = withModprobe(machine, [device], bindCommands(device));
  return new IospanError("ERR_IOSPAN_WRONG_DRIVER", message, { device: name, iommu: device.iommu?.name, hint });
}

/** Before Linux 6.15 a device joins its group when its first driver probes it, so a missing one proves nothing yet. */
function groupNote({ group, driver }: DeviceState): string {
  const unknown = group === undefined && driver === undefined;
  return unknown ? ", and only then tells whether an IOMMU translates its DMA: it is in no IOMMU group now" : "";
}

function groupNotViable(machine: Machine, device: DeviceState, foreign: readonly DeviceState[]): IospanError {
  const companions = foreign.map(({ name, driver }) => `${name} is bound to ${driver}`).join(", ");
  const message = `IOMMU group ${device.group} of ${device.name} is not viable, all its devices go to VFIO or none: ${companions}`;
  const commands = foreign.map((companion) => bindCommands(companion)).join("\n");
  const hint = withModprobe(machine, foreign, commands);
  return new IospanError("ERR_IOSPAN_GROUP_NOT_VIABLE", message, {
    device: device.name,
    iommu: device.iommu?.name,
    hint,
  });
}

/** Puts in front of `commands` what loads the drivers they need. */
function withModprobe(machine: Machine, devices: readonly DeviceState[], commands: string): string {
  const missing = [...new Set(devices.map(({ bus }) => bus))].filter(
    (bus) => !isDriverLoaded(machine, bus, vfioDrivers[bus]),
  );
  return [...missing.map((bus) => loadDriverHint(machine, bus, vfioDrivers[bus])), commands].join("\n");
}

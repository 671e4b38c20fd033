import { listDevices } from "../machine/devices.js";
import type { MachineDevice } from "../machine/machine.js";
import { hasVfioDriver } from "../machine/vfio-drivers.js";
import type { BindingWorld } from "./binding-world.js";
import { Memory, type Remembered } from "./remembered.js";

/** A device on VFIO that iospan put there, and where it would go back. */
export interface HeldDevice {
  readonly device: MachineDevice;
  readonly remembered: Remembered;
}

/** Who is on VFIO. */
export interface BindingStatus {
  /** By iospan's hand. */
  readonly held: readonly HeldDevice[];
  /** By somebody else's. */
  readonly foreign: readonly MachineDevice[];
  /** Remembered, and not on VFIO any more, or not yet: moved by others, gone, or left by a run that was interrupted. */
  readonly astray: readonly Remembered[];
  /** How many other devices there are, of PCI and the platform bus. */
  readonly others: number;
}

/** @throws IospanError `ERR_IOSPAN_INCONSISTENT` for a record that cannot be read. */
export function readBindingStatus({ machine, store }: BindingWorld): BindingStatus {
  const memory = new Memory(machine, store);
  const devices = listDevices(machine);
  const bound = devices.filter(hasVfioDriver);
  const all = bound.map((device) => ({ device, remembered: memory.of(device.name) }));
  return {
    held: all.flatMap(({ device, remembered }) => (remembered?.place === "held" ? [{ device, remembered }] : [])),
    foreign: all.filter(({ remembered }) => remembered?.place !== "held").map(({ device }) => device),
    astray: memory.all.filter(({ place }) => place === "elsewhere" || place === "between" || place === "gone"),
    others: devices.length - bound.length,
  };
}

import { readPciIds } from "../machine/devices.js";
import { groupDevices } from "../machine/groups.js";
import type { DeviceState, Machine } from "../machine/machine.js";
import { spoilsGroup } from "../machine/vfio-drivers.js";

/** The other devices of the groups that some devices are in. */
export interface GroupMates {
  /** Those that VFIO can take, too. */
  readonly takable: readonly DeviceState[];
  /** Bridges on a driver that does no DMA of its own, and host bridges without one: they do no harm where they are. */
  readonly harmless: readonly DeviceState[];
  /** Bridges on a driver that keeps VFIO from the group, and which vfio-pci does not take. */
  readonly immovable: readonly DeviceState[];
}

/** Finds the devices that come and go with the named ones. */
export function groupMates(machine: Machine, named: readonly DeviceState[]): GroupMates {
  const groups = new Set(named.flatMap(({ group }) => group ?? []));
  const members = [...groups].flatMap((group) => groupDevices(machine, group));
  const others = members.filter((device) => !named.some(({ name, bus }) => name === device.name && bus === device.bus));
  const bridges = others.filter((device) => isBridge(machine, device));
  const idle = others.filter((device) => isIdleHostBridge(machine, device));
  return {
    takable: others.filter((device) => !bridges.includes(device) && !idle.includes(device)),
    harmless: [...bridges.filter((device) => !spoilsGroup(device)), ...idle],
    immovable: bridges.filter(spoilsGroup),
  };
}

/**
 * Whether a device is a PCI-to-PCI or a CardBus bridge, whose header is not an end point's (drivers/pci/probe.c,
 * pci_setup_device): vfio-pci takes none (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_core_register_device). Others of PCI's
 * base class 6, as ISA and LPC bridges, are end points with drivers as any.
 */
export function isBridge(machine: Machine, device: DeviceState): boolean {
  const subclass = subclassOf(machine, device);
  return subclass === 0x0604 || subclass === 0x0607;
}

function isIdleHostBridge(machine: Machine, device: DeviceState): boolean {
  return device.driver === undefined && subclassOf(machine, device) === 0x0600;
}

function subclassOf(machine: Machine, device: DeviceState): number {
  return device.bus === "pci" ? (readPciIds(machine, device)?.class ?? 0) >>> 8 : 0;
}

import { IospanError } from "../errors.js";
import { lookUpDeviceState, readPciIds } from "../machine/devices.js";
import type { DeviceState, Machine } from "../machine/machine.js";
import { readLinkName } from "../machine/sysfs.js";
import { hasVfioDriver } from "../machine/vfio-drivers.js";

/** Base class and subclass of bridges between PCI's buses: to PCI and to CardBus (include/linux/pci_ids.h). */
const BRIDGES: readonly number[] = [0x0604, 0x0607];

/** What sysfs says of a PCI function that a hot reset would hit. Nothing where it cannot be seen: then the kernel alone knows. */
export interface HitFunction {
  /** The kernel's name. */
  readonly name: string;
  readonly group?: number | undefined;
  readonly driver?: string | undefined;
  /** Undefined where that is not known. */
  readonly onVfio?: boolean;
  /** A virtual function of SR-IOV: a hot reset of its bus is never VFIO's, since it is a device set of its own. */
  readonly isVirtual: boolean;
  /** vfio-pci takes none (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_core_register_device). */
  readonly isBridge: boolean;
}

/** What sysfs says of the function of that name. */
export function readHitFunction(machine: Machine, name: string): HitFunction {
  const unseen = { name, isVirtual: false, isBridge: false };
  try {
    const state = lookUpDeviceState(machine, name);
    return state === undefined ? unseen : described(machine, state);
  } catch (error) {
    if (error instanceof IospanError) return unseen;
    throw error;
  }
}

function described(machine: Machine, state: DeviceState): HitFunction {
  const { name, group, driver, path } = state;
  const { class: code = 0 } = readPciIds(machine, state) ?? {};
  const isVirtual = readLinkName(machine, `${path}/physfn`) !== undefined;
  return { name, group, driver, onVfio: hasVfioDriver(state), isVirtual, isBridge: BRIDGES.includes(code >> 8) };
}

/** Why the kernel does not reset a function with others, in words. */
export function obstacleOf({ name, group, driver, onVfio, isVirtual, isBridge }: HitFunction): string {
  if (isBridge) return `${name} is a bridge, which vfio-pci does not take: such a bus is never reset through VFIO`;
  if (isVirtual) return `${name} is a virtual function, which VFIO does not reset together with others`;
  if (onVfio === false) return `${name} is bound to ${driver ?? "no driver"}, not to vfio-pci`;
  const member = group === undefined ? name : `${name} (IOMMU group ${group})`;
  return `${member} is not in the space${onVfio === undefined ? ", or not on vfio-pci" : ""}`;
}

/** What may be done about the functions that are in the way. */
export function wayPast(obstacles: readonly HitFunction[]): string {
  const alone = "reset the device alone: device.reset()";
  if (obstacles.some(({ isBridge }) => isBridge)) return alone;
  if (obstacles.some(({ isVirtual }) => isVirtual)) {
    return `${alone}; or end the virtual functions: echo 0 > sriov_numvfs, in the physical function's directory in sysfs`;
  }
  return `bind ${obstacles.map(({ name }) => name).join(", ")} to vfio-pci and attach it to the space, or ${alone}`;
}

import type { Machine, MachineDevice } from "../../src/machine/machine.js";
import type { Syscalls } from "../../src/syscalls/syscalls.js";

export function machineOver(syscalls: Syscalls): Machine {
  return { syscalls };
}

/** A device as sysfs would describe it, behind an IOMMU of the given name. */
export function deviceBehind(iommu: string, name: string, group = 1): MachineDevice {
  return { name, bus: "platform", path: `/sys/${name}`, driver: "vfio-platform", group, iommu: { name: iommu } };
}

import type { KernelDevice } from "../drivers/device.js";

/** The PCI functions of a machine, by how they are wired: what a reset of a bus hits. */
export class PciBuses {
  readonly #devices: readonly KernelDevice[];

  /** @param devices as they were enumerated */
  constructor(devices: readonly KernelDevice[]) {
    this.#devices = devices.filter(({ bus }) => bus === "pci");
  }

  /** Whether a bridge is above, so that its secondary bus can be reset (drivers/pci/pci.c, pci_bus_reset). No slot has a reset of its own. */
  canReset(device: KernelDevice): boolean {
    return bridgesAbove(device).length > 0;
  }

  /** All on its bus and behind, in the order of pci_walk_bus. */
  sharing(device: KernelDevice): readonly KernelDevice[] {
    const bus = busOf(device.name);
    return this.#devices.filter((other) => {
      return busOf(other.name) === bus || bridgesAbove(other).some((bridge) => busOf(bridge) === bus);
    });
  }

  /** Whether two functions on vfio-pci are in one set of devices that are reset together (vfio_pci_core_register_device). */
  isOneSet(device: KernelDevice, other: KernelDevice): boolean {
    if (device === other) return true;
    const alone = [device, other].some((each) => !this.canReset(each) || isVirtual(each));
    return !alone && busOf(device.name) === busOf(other.name);
  }
}

/** Whether it is a virtual function of SR-IOV. */
export function isVirtual({ description }: KernelDevice): boolean {
  return description.bus === "pci" && description.physicalFunction !== undefined;
}

/** Domain and bus: `0000:02` of `0000:02:00.0`. */
function busOf(name: string): string {
  return name.slice(0, name.lastIndexOf(":"));
}

function bridgesAbove({ description }: KernelDevice): readonly string[] {
  return description.bus === "pci" ? (description.behind ?? []) : [];
}

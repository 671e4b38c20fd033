import type { Syscalls } from "../syscalls/syscalls.js";
import type { Chip, ChipDevice } from "./chip/chip.js";
import { physicalDevice } from "./chip/device-models.js";
import type { MachineDescription } from "./linux/description.js";
import { SimulatedKernel } from "./linux/kernel.js";

/** An interface of a device of a simulated machine: a PCI function or a platform device that is behind an SMMU. */
export interface SimulatedInterface {
  /** Kernel name: `0000:01:00.0`, `9030000.dma-port`. */
  readonly name: string;
  /** Its node in the device tree. */
  readonly path: string;
  /** The node's label, if it has one. */
  readonly label: string | undefined;
  readonly bus: "pci" | "platform";
  /** The SMMU, as in `/sys/class/iommu`. */
  readonly iommu: string;
  /**
   * The node that stands for the physical device, which is the same for all its interfaces. A device with one interface is
   * its own.
   */
  readonly device: string;
}

/** An SMMU of a simulated machine. */
export interface SimulatedSmmu {
  /** As in `/sys/class/iommu`: `smmu3.0x000000000c000000`. */
  readonly name: string;
  /** Its node in the device tree. */
  readonly path: string;
  /** The node's label, if it has one. */
  readonly label: string | undefined;
  /** What its hardware did so far. */
  readonly counters: SimulatedKernel["smmus"][number]["counters"];
}

/**
 * A machine that `simulate` made, to be opened like any other. Besides its kernel's system calls, which are all that a
 * program on it sees, it can be looked into.
 */
export class SimulatedMachine {
  /** What the device tree and the options came to. */
  readonly description: MachineDescription;
  /** Devices but bridges that are behind an SMMU: PCI functions, host by host, then platform devices. */
  readonly interfaces: readonly SimulatedInterface[];
  readonly #chip: Chip;
  readonly #kernel: SimulatedKernel;

  /** @internal `simulate` makes them. */
  constructor(chip: Chip, description: MachineDescription) {
    this.#chip = chip;
    this.description = description;
    this.interfaces = chip.devices.flatMap((device) => interfaceOf(device) ?? []);
    this.#kernel = new SimulatedKernel(description);
  }

  get syscalls(): Syscalls {
    return this.#kernel;
  }

  /** The chip's name: `model` of the device tree. */
  get model(): string | undefined {
    return this.#chip.tree.root.property("model")?.text;
  }

  /** `uname -r` */
  get release(): string {
    return this.description.release;
  }

  /** The kernel's messages, oldest first. */
  get kernelLog(): readonly string[] {
    return this.#kernel.log;
  }

  /** The simulation's time. */
  get clock(): SimulatedKernel["clock"] {
    return this.#kernel.clock;
  }

  /** The SMMUs, as the device tree lists them, and what their hardware did so far. */
  get smmus(): readonly SimulatedSmmu[] {
    const counters = new Map(this.#kernel.smmus.map((smmu) => [smmu.name, smmu.counters]));
    return this.#chip.smmus.flatMap(({ node, description: { name } }) => {
      const own = counters.get(name);
      return own === undefined ? [] : { name, path: node.path, label: node.labels[0], counters: own };
    });
  }

  /**
   * Another process takes a device from its driver, as `echo NAME > /sys/bus/pci/drivers/vfio-pci/unbind` does, and unplugging
   * it does first. For as long as the program has the device open that waits; the program is asked to let go.
   * @param name the device's kernel name
   * @returns when the device has no driver any more
   * @throws SyscallError `ENODEV` for a device that there is not, or that has no driver.
   */
  unbind(name: string): Promise<void> {
    return this.#kernel.unbind(name);
  }

  /** VFIO containers that are open or have a group, in the order they were made. */
  get containers(): SimulatedKernel["containers"] {
    return this.#kernel.containers;
  }

  /** Iommufds that are open, in the order they were made. */
  get iommufds(): SimulatedKernel["iommufds"] {
    return this.#kernel.iommufds;
  }

  /** Pins that VFIO and iommufd hold: a page in two mappings has two. */
  get pinnedPages(): number {
    return this.#kernel.pinnedPages;
  }

  /** Bytes that count against RLIMIT_MEMLOCK (VmLck). */
  get lockedBytes(): number {
    return this.#kernel.lockedBytes;
  }

  /** Bytes of RAM that mappings of the process and pins keep. */
  get usedMemory(): number {
    return this.#kernel.usedMemory;
  }

  /** Open descriptors of the process. */
  get openFds(): SimulatedKernel["openFds"] {
    return this.#kernel.openFds;
  }
}

function interfaceOf({ node, description }: ChipDevice): SimulatedInterface | undefined {
  const { name, bus, iommu, model } = description;
  if (iommu === undefined || model.pci?.bridge === true) return undefined;
  return { name, path: node.path, label: node.labels[0], bus, iommu, device: physicalDevice(node).path };
}

import type { DeviceDescription } from "../description.js";
import type { KernelDevice } from "./device.js";

/** The kernel's `struct device_driver`. */
export interface Driver {
  readonly name: string;
  readonly bus: DeviceDescription["bus"];
  /** It leaves the device's DMA to whoever claims the group (`driver_managed_dma`): VFIO's drivers, pcieport, pci-stub. */
  readonly managesDma: boolean;
  /** Whether it knows the device, where `driver_override` does not decide. */
  matches(device: KernelDevice): boolean;
  /** Takes the device, or refuses with an errno. */
  probe(device: KernelDevice): void;
  /** Lets go of the device, which nobody may use any more: see {@link release}. */
  remove(device: KernelDevice): void;
  /** Resolves when nobody uses the device any more, which the driver asks for; absent where it lets go at once. */
  release?(device: KernelDevice): Promise<void>;
}

/** A driver of the kernel's own, which does DMA for itself. */
export function ordinaryDriver(name: string, bus: Driver["bus"], knows: (device: KernelDevice) => boolean): Driver {
  return {
    name,
    bus,
    managesDma: name === "pcieport" || name === "pci-stub",
    matches: knows,
    probe: () => {},
    remove: () => {},
  };
}

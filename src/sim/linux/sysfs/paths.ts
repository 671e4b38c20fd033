import type { DeviceDescription } from "../description.js";
import type { KernelDevice } from "../drivers/device.js";
import type { Iommu } from "../iommu/iommu.js";

/** Where sysfs really has a device: `/sys/bus/…` only links there. */
export function devicePath({ description }: KernelDevice): string {
  if (description.bus === "platform") return `/sys/devices/platform/${description.name}`;
  return `/sys/devices/${pciChain(description).join("/")}`;
}

/** The root bus, the bridges and the function itself: `pci0000:00`, `0000:00:03.0`, `0000:02:00.0`. */
export function pciChain(description: DeviceDescription): readonly string[] {
  const behind = description.bus === "pci" ? (description.behind ?? []) : [];
  const [root = description.name] = behind;
  return [`pci${root.slice(0, root.lastIndexOf(":"))}`, ...behind, description.name];
}

/** Where sysfs really has an IOMMU. */
export function iommuPath({ device, name }: Iommu): string {
  return `/sys/devices/platform/${device}/iommu/${name}`;
}

/** What is on a VFIO driver. */
export const VFIO_CLASS = "/sys/class/vfio-dev";

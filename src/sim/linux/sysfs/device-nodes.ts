import type { PciIdentity } from "../../hw/device-model.js";
import type { PlatformDescription } from "../description.js";
import type { KernelDevice } from "../drivers/device.js";
import { refuse } from "../refusal.js";
import type { Vfio } from "../vfio/vfio.js";
import { devicePath, iommuPath, VFIO_CLASS } from "./paths.js";
import { attribute, directory, type Entries, line, link, type Node, relative, trigger } from "./tree.js";

/** The directory of a device, with those of the devices behind it. */
export function deviceNode(device: KernelDevice, vfio: Vfio, showVfio: boolean, children: Entries): Node {
  const path = devicePath(device);
  const to = (target: string) => link(relative(path, target));
  const fixed = {
    ...children,
    ...(device.description.bus === "pci" ? pciEntries(device) : platformEntries(device.description, to)),
    subsystem: to(`/sys/bus/${device.bus}`),
    driver_override: attribute(
      () => device.driverOverride ?? "(null)",
      (text) => setOverride(device, text),
    ),
    iommu: device.iommu && to(iommuPath(device.iommu)),
  };
  return directory(() => ({
    ...fixed,
    // VFIO gives a group to a device that has none, in no-IOMMU mode.
    iommu_group: device.group && to(`/sys/kernel/iommu_groups/${device.group.id}`),
    driver: device.driver && to(`/sys/bus/${device.bus}/drivers/${device.driver.name}`),
    "vfio-dev": showVfio ? vfioEntries(device, vfio) : undefined,
  }));
}

/** driver_set_override. */
function setOverride(device: KernelDevice, text: string): void {
  if (text.length >= 4095) refuse("EINVAL");
  const name = line(text);
  device.driverOverride = name === "" ? undefined : name;
}

/** Where sysfs has the VFIO side of a device that is on a VFIO driver. */
export function vfioDevicePath(device: KernelDevice, vfio: Vfio): string | undefined {
  const registered = vfio.deviceOf(device);
  if (registered === undefined || registered.isLeaving) return undefined;
  return `${devicePath(device)}/vfio-dev/${registered.nodeName}`;
}

/** Of the numbers that Linux hands out to drivers without one of their own (fs/char_dev.c, CHRDEV_MAJOR_DYN_EXT_START). */
const CDEV_MAJOR = 511;

function vfioEntries(device: KernelDevice, vfio: Vfio): Node | undefined {
  const registered = vfio.deviceOf(device);
  const path = vfioDevicePath(device, vfio);
  if (registered === undefined || path === undefined) return undefined;
  const { id, nodeName } = registered;
  const entries = {
    dev: vfio.cdevs.includes(registered) ? attribute(() => `${CDEV_MAJOR}:${id}`) : undefined,
    // Links upwards go by way of the parent (fs/kernfs/symlink.c, kernfs_get_target_path).
    device: link(`../../../${device.name}`),
    subsystem: link(relative(path, VFIO_CLASS)),
  };
  return directory({ [nodeName]: directory(entries) });
}

function pciEntries(device: KernelDevice): Entries {
  const { config, description } = device;
  const identity = description.model.pci ?? { vendor: 0, device: 0, classCode: 0 };
  const { vendor, device: id, classCode, subsystemVendor = 0, subsystem = 0, revision = 0 } = identity;
  const canReset = description.bus === "pci" && (description.reset ?? true) && identity.bridge !== true;
  const physical = description.bus === "pci" ? description.physicalFunction : undefined;
  return {
    vendor: attribute(() => hex(vendor, 4)),
    device: attribute(() => hex(id, 4)),
    class: attribute(() => hex(classCode, 6)),
    revision: attribute(() => hex(revision, 2)),
    subsystem_vendor: attribute(() => hex(subsystemVendor, 4)),
    subsystem_device: attribute(() => hex(subsystem, 4)),
    modalias: attribute(() => pciModalias(identity)),
    resource: { kind: "file", read: () => resources(device) },
    config: { kind: "file", read: () => config?.bytes() ?? "" },
    // Both are on one bus here (drivers/pci/iov.c, pci_iov_sysfs_link).
    physfn: physical === undefined ? undefined : link(`../${physical}`),
    reset: canReset ? trigger(() => device.reset()) : undefined,
  };
}

/** include/linux/mod_devicetable.h and scripts/mod/file2alias.c: bytes in capital letters. */
function pciModalias({ vendor, device, classCode, subsystemVendor = 0, subsystem = 0 }: PciIdentity): string {
  const digits = (value: number, count: number) => value.toString(16).toUpperCase().padStart(count, "0");
  const ids = `v${digits(vendor, 8)}d${digits(device, 8)}sv${digits(subsystemVendor, 8)}sd${digits(subsystem, 8)}`;
  const [base, sub, programming] = [classCode >>> 16, (classCode >>> 8) & 0xff, classCode & 0xff];
  return `pci:${ids}bc${digits(base, 2)}sc${digits(sub, 2)}i${digits(programming, 2)}`;
}

/** One line for each BAR and the ROM: start, end, flags (IORESOURCE_MEM, memory BAR). */
function resources(device: KernelDevice): string {
  const lines = Array.from({ length: 7 }, (_, index) => {
    const frame = device.frames.find((candidate) => candidate.index === index);
    const [start, end] = frame === undefined ? [0, 0] : [frame.physicalAddress, frame.physicalAddress + frame.size - 1];
    return `${hex(start, 16)} ${hex(end, 16)} ${hex(frame === undefined ? 0 : 0x40200, 16)}\n`;
  });
  return lines.join("");
}

function platformEntries(description: PlatformDescription, to: (target: string) => Node): Entries {
  const { name, compatible } = description;
  if (compatible === undefined) return { modalias: attribute(() => `platform:${name}`) };
  return {
    modalias: attribute(
      () => `of:N${nodeName(name).replace(/@.*/, "")}T(null)${compatible.map((each) => `C${each}`).join("")}`,
    ),
    of_node: to(`/sys/firmware/devicetree/base/${nodeName(name)}`),
  };
}

/** The device tree's nodes that platform devices stem from. */
export function deviceTreeNodes(devices: readonly KernelDevice[]): Entries {
  const nodes: Record<string, Node> = {};
  for (const { description } of devices) {
    if (description.bus !== "platform" || description.compatible === undefined) continue;
    const compatible = description.compatible.map((each) => `${each}\0`).join("");
    nodes[nodeName(description.name)] = directory({ compatible: { kind: "file", read: () => compatible } });
  }
  return nodes;
}

/** The kernel turns `dma-port@9030000` into `9030000.dma-port`. */
function nodeName(deviceName: string): string {
  const dot = deviceName.indexOf(".");
  return dot < 0 ? deviceName : `${deviceName.slice(dot + 1)}@${deviceName.slice(0, dot)}`;
}

function hex(value: number, digits: number): string {
  return `0x${value.toString(16).padStart(digits, "0")}`;
}

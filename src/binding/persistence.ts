import { listDevices, readPciIds } from "../machine/devices.js";
import type { Machine, PciIds } from "../machine/machine.js";
import type { PlannedDevice } from "./plan-binding.js";

/** A file that makes a binding last. */
export interface PersistentFile {
  readonly path: string;
  readonly text: string;
}

/** A device that is to be bound at every boot. */
export interface LastingBinding {
  readonly device: PlannedDevice["device"];
  readonly driver: string;
  /** PCI only: the rule holds for no other device that comes to this address. */
  readonly pci?: Pick<PciIds, "vendor" | "device"> | undefined;
  /** Other devices of the machine's with the same IDs, which are not to be bound. */
  readonly alike?: readonly string[] | undefined;
}

const RULES = "/etc/udev/rules.d";
const MODULES = "/etc/modules-load.d";

/** What the files that iospan may remove again begin with. */
export const HEADER = "# Written by iospan bind --persist";

/**
 * The udev rule and the list of modules that bind a device when it appears, at every boot.
 *
 * The rule comes before udev's own that loads drivers (80-drivers.rules), so that the override stands when they arrive. A
 * driver that has the device by then keeps it: a rule that took a device from its driver might find, after cards have been
 * moved, the root file system on it.
 */
export function persistentFiles(binding: LastingBinding): readonly PersistentFile[] {
  const { device, driver } = binding;
  const header = `${HEADER} for ${device.name}; iospan unbind --persist ${device.name} removes it.`;
  const [rules, modules] = persistentPaths(device.name);
  return [
    { path: rules, text: `${header}\n${udevRule(binding)}\n` },
    { path: modules, text: `${header}\n${driver}\n` },
  ];
}

/** Where {@link persistentFiles} are. */
export function persistentPaths(device: string): readonly [string, string] {
  // modules-load.d and udev read names with these characters only alike on all systems.
  const plain = device.replaceAll(/[^\w.-]/g, "-");
  return [`${RULES}/05-iospan-${plain}.rules`, `${MODULES}/iospan-${plain}.conf`];
}

/** One rule on one line. */
export function udevRule({ device: { name, bus }, driver, pci }: LastingBinding): string {
  const hex = (value: number) => `0x${value.toString(16).padStart(4, "0")}`;
  const probe = `if [ ! -e /sys/bus/${bus}/devices/$kernel/driver ]; then echo $kernel > /sys/bus/${bus}/drivers_probe; fi`;
  return [
    `ACTION=="add"`,
    `SUBSYSTEM=="${bus}"`,
    `KERNEL=="${pattern(name)}"`,
    ...(pci === undefined ? [] : [`ATTR{vendor}=="${hex(pci.vendor)}"`, `ATTR{device}=="${hex(pci.device)}"`]),
    `ATTR{driver_override}="${driver}"`,
    `RUN{builtin}+="kmod load ${driver}"`,
    `RUN{program}+="/bin/sh -c '${probe}'"`,
  ].join(", ");
}

/** A pattern that matches the name: what stands for other characters in patterns, or ends a value, matches any one. */
function pattern(name: string): string {
  return name.replaceAll(/[*?[\]|"\\]/g, "?");
}

/**
 * What the files cannot do, and what does it, in words. Lines that begin with a space are commands.
 *
 * How a driver gets in first: udev loads modules by the event that announces a device, but an initramfs has its own udev with
 * its own rules, and what is built in has no module to wait for.
 */
export function persistenceNotes({ device, driver, pci, alike }: LastingBinding): readonly string[] {
  const [rule] = persistentPaths(device.name);
  const known = device.driver !== undefined && device.driver !== driver;
  const own = known ? device.driver : "the device's own driver";
  return [
    `It holds from the next boot on. Whoever comes first keeps the device: if ${own} is in the initramfs, rule and module have to ` +
      "be there, too:",
    `  echo 'add_drivers+=" ${driver} " install_items+=" ${rule} "' > /etc/dracut.conf.d/iospan.conf; dracut -f`,
    "And back again:",
    "  rm /etc/dracut.conf.d/iospan.conf; dracut -f",
    ...initramfsToolsNotes({ device, driver, pci, alike }),
    "A driver that is built into the kernel always comes first: then iospan bind is for a service that starts before the user's.",
  ];
}

/** Its initramfs takes no rules of the user's; vfio-pci can be told IDs, which are those of a kind of device. */
function initramfsToolsNotes({ device, driver, pci, alike = [] }: LastingBinding): readonly string[] {
  const own = device.driver;
  if (pci === undefined || own === undefined || driver !== "vfio-pci" || own === driver) return [];
  const ids = [pci.vendor, pci.device].map((id) => id.toString(16).padStart(4, "0")).join(":");
  if (alike.length > 0) {
    const others = alike.join(", ");
    return [
      `With initramfs-tools there is no safe way: vfio-pci can be told IDs there only, and ${ids} is also what ${others} ` +
        `${alike.length === 1 ? "has, which" : "have, which"} would go to VFIO, too.`,
    ];
  }
  const options = `options vfio-pci ids=${ids}\\nsoftdep ${own} pre: vfio-pci\\n`;
  return [
    `With initramfs-tools only for all devices of the kind ${ids} at once:`,
    `  echo vfio-pci >> /etc/initramfs-tools/modules; printf '${options}' > /etc/modprobe.d/iospan.conf; update-initramfs -u`,
    "And back again:",
    "  sed -i '/^vfio-pci$/d' /etc/initramfs-tools/modules; rm /etc/modprobe.d/iospan.conf; update-initramfs -u",
  ];
}

/** What is to last of devices that are being bound. */
export function lastingBindings(
  machine: Machine,
  devices: readonly Pick<PlannedDevice, "device" | "driver">[],
): readonly LastingBinding[] {
  const all = listDevices(machine, { bus: "pci" });
  const bound = new Set(devices.map(({ device }) => device.name));
  return devices.map(({ device, driver }) => {
    const pci = readPciIds(machine, device);
    const isAlike = (other: PciIds | undefined) => other?.vendor === pci?.vendor && other?.device === pci?.device;
    const others = pci === undefined ? [] : all.filter((each) => !bound.has(each.name) && isAlike(each.pci));
    return { device, driver, pci, alike: others.map(({ name }) => name) };
  });
}

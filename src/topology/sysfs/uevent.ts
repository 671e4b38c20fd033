import { readAttribute, type SysfsSource } from "../../machine/sysfs.js";
import type { TopologyPciIds } from "../topology.js";

/** What a device's `uevent` says: one file for what is in half a dozen others. */
export interface Uevent {
  readonly driver: string | null;
  readonly pci: TopologyPciIds | undefined;
  /** The path of its node in the device tree. */
  readonly node: string | undefined;
  readonly compatible: readonly string[];
  /** Firmware describes it in ACPI's namespace. */
  readonly isAcpi: boolean;
}

/**
 * Reads it, as the kernel makes it for every device (drivers/base/core.c, dev_uevent; drivers/of/device.c, of_device_uevent;
 * drivers/pci/pci-driver.c, pci_uevent).
 * @param folder the device's
 * @returns undefined where there is none, as in a copy of some of the files, or it says nothing of what its bus should.
 */
export function readUevent(source: SysfsSource, folder: string, bus: string): Uevent | undefined {
  const text = readAttribute(source, `${folder}/uevent`);
  if (text === undefined) return undefined;
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const at = line.indexOf("=");
    if (at > 0) values.set(line.slice(0, at), line.slice(at + 1));
  }
  const pci = pciOf(values);
  if (bus === "pci" && pci === undefined) return undefined;
  return {
    driver: values.get("DRIVER") ?? null,
    pci,
    node: values.get("OF_FULLNAME"),
    isAcpi: values.get("MODALIAS")?.startsWith("acpi:") === true,
    compatible: Array.from({ length: Number(values.get("OF_COMPATIBLE_N") ?? 0) }, (_, index) =>
      values.get(`OF_COMPATIBLE_${index}`),
    ).filter((each) => each !== undefined),
  };
}

/** `PCI_ID=1B36:0010` and `PCI_CLASS=10802`. */
function pciOf(values: ReadonlyMap<string, string>): TopologyPciIds | undefined {
  const [, vendor, device] = /^([0-9A-F]{1,4}):([0-9A-F]{1,4})$/.exec(values.get("PCI_ID") ?? "") ?? [];
  const code = values.get("PCI_CLASS") ?? "";
  if (vendor === undefined || device === undefined || !/^[0-9A-F]{1,6}$/.test(code)) return undefined;
  return { vendor: Number.parseInt(vendor, 16), device: Number.parseInt(device, 16), class: Number.parseInt(code, 16) };
}

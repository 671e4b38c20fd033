import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import path from "node:path";
import type { Candidate } from "./values.js";

/** Buses whose devices VFIO can have. */
const BUSES = ["pci", "platform"] as const;

/** A machine's devices, those behind an IOMMU first; none where the folder is no sysfs. */
export function deviceNames(sysfs: string): readonly Candidate[] {
  const all = BUSES.flatMap((bus) => {
    const folder = path.join(sysfs, "bus", bus, "devices");
    return entries(folder).map((name) => device(path.join(folder, name), name, bus));
  });
  return [...all.filter(({ group }) => group !== undefined), ...all.filter(({ group }) => group === undefined)];
}

/** A machine's IOMMUs. */
export function iommuNames(sysfs: string): readonly Candidate[] {
  return entries(path.join(sysfs, "class", "iommu")).map((value) => ({ value, text: "" }));
}

function device(folder: string, value: string, bus: string): Candidate & { readonly group: string | undefined } {
  const [group, driver] = [linked(folder, "iommu_group"), linked(folder, "driver")];
  const ids = [content(folder, "vendor"), content(folder, "device")].map((id) => id?.replace("0x", ""));
  const facts = [
    bus === "pci" && ids.every((id) => id !== undefined) ? `PCI ${ids.join(":")}` : bus,
    group === undefined ? undefined : `group ${group}`,
    driver ?? "no driver",
  ];
  return { value, text: facts.filter((each) => each !== undefined).join(", "), group };
}

/** What a Tab asks for is there or is not: nobody wants to hear why. */
function asked<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

function entries(folder: string): readonly string[] {
  return asked(() => readdirSync(folder).sort()) ?? [];
}

function linked(folder: string, name: string): string | undefined {
  return asked(() => path.basename(readlinkSync(path.join(folder, name))));
}

function content(folder: string, name: string): string | undefined {
  return asked(() => readFileSync(path.join(folder, name), "utf8").trim());
}

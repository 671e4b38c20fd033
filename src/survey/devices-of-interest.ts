import type { OptionalFiles } from "../machine/optional-files.js";
import { baseName } from "../machine/sysfs.js";
import type { Topology, TopologyDevice } from "../topology/topology.js";

/** Devices that more is wanted of than a topology tells. */
export type WantedDevices = "all" | readonly string[];

/**
 * The kernel's devices that were asked for, those that VFIO has or shall have (`driver_override`), and all that share a group
 * with one of them.
 * @param wanted names or paths, also parts of them, aliases, and names of engines.
 */
export function devicesOfInterest(
  topology: Topology,
  wanted: WantedDevices,
  files: OptionalFiles,
): readonly TopologyDevice[] {
  const present = topology.devices.filter(({ paths }) => paths.sysfs !== undefined);
  if (wanted === "all") return present;
  const texts = wanted.flatMap((text) => [baseName(text), ...otherNames(topology, text)]).filter((text) => text !== "");
  const chosen = new Set(present.filter((device) => isNamed(device, texts) || isForVfio(device, files)));
  const groups = new Set([...chosen].map(({ group }) => group).filter((group) => typeof group === "number"));
  return present.filter(
    (device) => chosen.has(device) || (typeof device.group === "number" && groups.has(device.group)),
  );
}

/** Of an alias what it stands for, of a device with several interfaces those. */
function otherNames({ aliases, engines }: Topology, text: string): readonly string[] {
  const interfaces = engines.filter(({ name }) => name.includes(text)).flatMap((engine) => engine.interfaces);
  const alias = aliases?.get(text.replace(/^&/, ""));
  return alias === undefined ? interfaces : [...interfaces, alias];
}

/** One too many costs a moment; how people name devices is for others to understand. */
function isNamed({ name, path, paths }: TopologyDevice, wanted: readonly string[]): boolean {
  const own = [name, path, ...Object.values(paths)].map((each) => each.toLowerCase());
  return wanted.some((text) => own.some((each) => each.includes(text.toLowerCase())));
}

function isForVfio({ driver, paths }: TopologyDevice, files: OptionalFiles): boolean {
  if (driver?.includes("vfio")) return true;
  return readDriverOverride(files, paths.sysfs ?? "")?.includes("vfio") === true;
}

/** The kernel prints a missing override as C's printf prints a null pointer. */
export function readDriverOverride(files: OptionalFiles, path: string): string | undefined {
  const text = files.text(`${path}/driver_override`);
  return text === "(null)" || text === "" ? undefined : text;
}

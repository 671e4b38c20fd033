import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { IospanError } from "../../errors.js";
import { mergeTopologies } from "../../topology/merge.js";
import { topologyOfSysfs } from "../../topology/sysfs/topology-of-sysfs.js";
import type { Finding, Topology } from "../../topology/topology.js";
import { acpiTables, topologyOfAcpi } from "../../topology/topology-of-acpi.js";
import { topologyOfDeviceTree } from "../../topology/topology-of-device-tree.js";
import { readChip } from "../chip-file.js";
import { isSystemError } from "../failure.js";
import { Folder } from "./folder.js";
import type { TopologyFlags } from "./options.js";

/** No table comes near; what is larger was not meant. */
const LARGEST_TABLE = 16 * 2 ** 20;
const TREE = "/sys/firmware/fdt";

/**
 * Reads the sources that were named, or this machine's sysfs, and makes one topology of them. With a sysfs goes what
 * firmware it has in it, unless other firmware was named.
 * @throws IospanError where one cannot be read.
 */
export function readSources({ sysfs, deviceTree, iort }: TopologyFlags): Topology {
  const named: Topology[] = [];
  if (deviceTree !== undefined) {
    const { name, content } = readChip(deviceTree);
    named.push(topologyOfDeviceTree(content, name));
  }
  if (iort !== undefined) named.push(topologyOfAcpi(readTable(iort), path.basename(iort)));
  if (named.length > 0 && sysfs === undefined) return mergeTopologies(named);
  const folder = new Folder(sysfs === undefined ? "/sys" : sysfsIn(sysfs));
  const live = topologyOfSysfs(folder, sysfs ?? "/sys");
  return named.length > 0 ? mergeTopologies([live, ...named]) : withFirmware(live, folder);
}

/** A copy may be of `/sys` or of the root it is in. */
function sysfsIn(copy: string): string {
  if (statSync(copy, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `cannot read the sysfs ${copy}: there is no such folder`, {
      hint: "name /sys, or a copy of it that has kept its links",
    });
  }
  const inside = path.join(copy, "sys");
  return statSync(inside, { throwIfNoEntry: false })?.isDirectory() === true ? inside : copy;
}

/** Only root may read firmware's tables; without them there are no StreamIDs, and nothing to compare the kernel with. */
function withFirmware(live: Topology, folder: Folder): Topology {
  const notes: Finding[] = [];
  const found: Topology[] = [];
  const add = (file: string, read: (bytes: Uint8Array) => Topology) => {
    try {
      const bytes = folder.firmware(file);
      if (bytes === "denied") notes.push(note(`${file} could not be read: run as root to see what firmware says`));
      else if (bytes !== undefined) found.push(read(bytes));
    } catch (error) {
      // The kernel runs with it, so that the rest is worth showing.
      if (!(error instanceof IospanError)) throw error;
      notes.push(note(`${file} was left out: ${error.message}`));
    }
  };
  add(TREE, (bytes) => topologyOfDeviceTree(bytes, TREE));
  for (const table of acpiTables) {
    const file = `/sys/firmware/acpi/tables/${table}`;
    add(file, (bytes) => topologyOfAcpi(bytes, file));
  }
  const merged = mergeTopologies([live, ...found]);
  return { ...merged, findings: [...merged.findings, ...notes] };
}

function note(text: string): Finding {
  return { id: "firmware-unread", severity: "note", text };
}

function readTable(file: string): Uint8Array {
  try {
    const { size } = statSync(file);
    if (size > LARGEST_TABLE) throw unreadable(file, `it has ${size} bytes`);
    return readFileSync(file);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw unreadable(file, error.code === "ENOENT" ? "there is no such file" : error.message);
  }
}

function unreadable(file: string, why: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `cannot read the table ${file}: ${why}`, {
    hint: "name a binary ACPI table, such as a copy of /sys/firmware/acpi/tables/IORT",
  });
}

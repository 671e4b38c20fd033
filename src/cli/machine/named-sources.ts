import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { IospanError } from "../../errors.js";
import type { Topology } from "../../topology/topology.js";
import { topologyOfAcpi } from "../../topology/topology-of-acpi.js";
import { topologyOfDeviceTree } from "../../topology/topology-of-device-tree.js";
import { readChip } from "../chip-file.js";
import { namingFile } from "../device-tree-file.js";
import { isSystemError } from "../failure.js";
import type { SourceFlags } from "../machine-source.js";

/** No table comes near; what is larger was not meant. */
const LARGEST_TABLE = 16 * 2 ** 20;

/**
 * The topologies of firmware that was named.
 * @throws IospanError where one cannot be read.
 */
export function namedFirmware({ deviceTree, iort }: SourceFlags): readonly Topology[] {
  const named: Topology[] = [];
  if (deviceTree !== undefined) {
    const { name, content } = readChip(deviceTree);
    named.push(namingFile(deviceTree, content, () => topologyOfDeviceTree(content, name)));
  }
  if (iort !== undefined) named.push(topologyOfAcpi(readTable(iort), path.basename(iort)));
  return named;
}

function readTable(file: string): Uint8Array {
  try {
    const stat = statSync(file);
    const { size } = stat;
    if (!stat.isFile() && !stat.isFIFO()) throw unreadable(file, "it is not a file");
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

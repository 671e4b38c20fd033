import { errnoName } from "../abi/errno.js";
import { IospanError } from "../errors.js";
import type { MachineFiles } from "../machine/machine-files.js";
import { SyscallError } from "../syscalls/syscalls.js";
import { mergeTopologies } from "../topology/merge.js";
import { topologyOfSysfs } from "../topology/sysfs/topology-of-sysfs.js";
import type { Finding, Topology } from "../topology/topology.js";
import { acpiTables, topologyOfAcpi } from "../topology/topology-of-acpi.js";
import { topologyOfDeviceTree } from "../topology/topology-of-device-tree.js";

const TREE = "/sys/firmware/fdt";

/** How {@link topologyOfMachine} reads. */
export interface MachineTopologyOptions {
  /** What the machine's sysfs is called in the result: `/sys` where absent. */
  readonly name?: string | undefined;
  /** What firmware says, in place of what the machine has of it in its sysfs. */
  readonly firmware?: readonly Topology[] | undefined;
}

/**
 * What a machine's kernel says of IOMMUs and devices in sysfs, merged with what its firmware says in `/sys/firmware`. Firmware
 * that cannot be read, or is malformed, becomes a finding: the kernel runs with it.
 * @throws IospanError as `topologyOfSysfs`.
 */
export function topologyOfMachine(files: MachineFiles, options: MachineTopologyOptions = {}): Topology {
  const { name, firmware } = options;
  const kernel = topologyOfSysfs({ syscalls: files }, name);
  if (firmware !== undefined) return mergeTopologies([kernel, ...firmware]);
  const notes: Finding[] = [];
  const found = firmwareReaders.flatMap(({ file, read }) => {
    const result = readFirmware(files, file, read);
    if (result?.topology === undefined) notes.push(...(result?.notes ?? []));
    return result?.topology ?? [];
  });
  const merged = mergeTopologies([kernel, ...found]);
  return { ...merged, findings: [...merged.findings, ...notes] };
}

const firmwareReaders: readonly { readonly file: string; readonly read: (bytes: Uint8Array) => Topology }[] = [
  { file: TREE, read: (bytes) => topologyOfDeviceTree(bytes, TREE) },
  ...acpiTables.map((table) => {
    const file = `/sys/firmware/acpi/tables/${table}`;
    return { file, read: (bytes: Uint8Array) => topologyOfAcpi(bytes, file) };
  }),
];

/** @returns the topology, or why there is none; undefined where there is no such file. */
function readFirmware(
  files: MachineFiles,
  file: string,
  read: (bytes: Uint8Array) => Topology,
): { readonly topology?: Topology; readonly notes?: readonly Finding[] } | undefined {
  try {
    return { topology: read(files.readBytes(file)) };
  } catch (error) {
    if (error instanceof IospanError) return { notes: [note(`${file} was left out: ${error.message}`)] };
    if (!(error instanceof SyscallError)) throw error;
    // Only root may read firmware's tables; without them there are no StreamIDs, and nothing to compare the kernel with.
    const isDenied = ["EACCES", "EPERM"].includes(errnoName(error.errno));
    if (!isDenied) return undefined;
    return { notes: [note(`${file} could not be read: run as root to see what firmware says`)] };
  }
}

function note(text: string): Finding {
  return { id: "firmware-unread", severity: "note", text };
}

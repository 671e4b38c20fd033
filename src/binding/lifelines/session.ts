import type { MachineReader } from "./machine-reader.js";

// Deeper than shells in shells are.
const ANCESTORS = 64;

/**
 * `SSH_CONNECTION` of the session that this process is in: its own, or of a process above it, since sudo does not hand it on.
 * Undefined where there is none, or it may not be read.
 */
export function findSshConnection(reader: MachineReader, own: string | undefined): string | undefined {
  if (own !== undefined && own !== "") return own;
  let pid = parentOf(reader, "self");
  for (let depth = 0; depth < ANCESTORS && pid !== undefined && pid !== "0"; depth++) {
    const found = environmentOf(reader, pid).find((entry) => entry.startsWith("SSH_CONNECTION="));
    if (found !== undefined) return found.slice("SSH_CONNECTION=".length);
    pid = parentOf(reader, pid);
  }
  return undefined;
}

function parentOf(reader: MachineReader, pid: string): string | undefined {
  return /^PPid:\s*(\d+)$/m.exec(reader.text(`/proc/${pid}/status`) ?? "")?.[1];
}

function environmentOf(reader: MachineReader, pid: string): readonly string[] {
  return (reader.text(`/proc/${pid}/environ`) ?? "").split("\0");
}

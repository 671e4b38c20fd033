import { errnoName } from "../abi/errno.js";
import { IospanError } from "../errors.js";
import { factsOf, SyscallError, type Syscalls } from "../syscalls/syscalls.js";

/** What has a sysfs: a machine, or a copy of one's files. */
export interface SysfsSource {
  readonly syscalls: Pick<Syscalls, "readFile" | "readDirectory" | "readLink">;
}

// ENODEV: the file was still listed, its device already on the way out.
const absences = ["ENOENT", "ENOTDIR", "ENODEV"];

/** The text of an attribute without the line end; undefined where there is none. */
export function readAttribute(machine: SysfsSource, path: string): string | undefined {
  return ifPresent(path, () => machine.syscalls.readFile(path).replace(/\n$/, ""));
}

/** The last component of a link's target, which is how sysfs names a device's driver, group and IOMMU; undefined where there is no link. */
export function readLinkName(machine: SysfsSource, path: string): string | undefined {
  // EINVAL: it is no link. An IOMMU's own directory has a directory `iommu` where its clients have a link.
  return ifPresent(path, () => baseName(machine.syscalls.readLink(path)), [...absences, "EINVAL"]);
}

/** The names in a directory; none where there is no directory. */
export function readNames(machine: SysfsSource, path: string): readonly string[] {
  return listNames(machine, path) ?? [];
}

/** The names in a directory; undefined where there is no directory. */
export function listNames(machine: SysfsSource, path: string): readonly string[] | undefined {
  return ifPresent(path, () => machine.syscalls.readDirectory(path));
}

/** Whether there is a directory at `path`. */
export function hasDirectory(machine: SysfsSource, path: string): boolean {
  return listNames(machine, path) !== undefined;
}

/** What follows the last slash, slashes at the end not counted. */
export function baseName(path: string): string {
  return path.replace(/\/+$/, "").replace(/^.*\//, "");
}

/**
 * Absence is an answer in sysfs (no driver, no group), so it becomes undefined.
 * @throws IospanError for any other refusal.
 */
function ifPresent<T>(path: string, read: () => T, absent: readonly string[] = absences): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    const name = errnoName(error.errno);
    if (absent.includes(name)) return undefined;
    const denied = name === "EACCES" || name === "EPERM";
    throw new IospanError(denied ? "ERR_IOSPAN_NO_PERMISSION" : "ERR_IOSPAN_SYSCALL", `cannot read ${path}: ${name}`, {
      ...factsOf(error),
      hint: `see what is there: ls -ld ${path}; mount | grep sysfs`,
    });
  }
}

import { errnoName } from "../../abi/errno.js";
import { baseName, type SysfsSource } from "../../machine/sysfs.js";
import { SyscallError } from "../../syscalls/syscalls.js";

// ESRCH: the process has ended while it was looked at. EINVAL: no link.
const absences = ["ENOENT", "ENOTDIR", "ENODEV", "ENXIO", "EINVAL", "ESRCH"];

/** Reads what can be read of a machine, and remembers what was refused: what it says would otherwise pass for nothing. */
export class MachineReader {
  readonly #source: SysfsSource;
  readonly #unread = new Map<string, string>();

  constructor(source: SysfsSource) {
    this.#source = source;
  }

  /** What was there and could not be read, each once: `/proc/PID/fd (EACCES)`. */
  get unread(): readonly string[] {
    return [...this.#unread].map(([path, answer]) => `${path} (${answer})`);
  }

  /** Notes what nothing tells, whoever reads. */
  markUnknown(what: string, why: string): void {
    this.#unread.set(what, why);
  }

  /** Without the line end; undefined where there is no such file. */
  text(path: string): string | undefined {
    return this.#try(path, () => this.#source.syscalls.readFile(path).replace(/\n$/, ""));
  }

  /** Each line that is not empty. */
  lines(path: string): readonly string[] {
    return (this.text(path) ?? "").split("\n").filter((line) => line !== "");
  }

  names(path: string): readonly string[] {
    return this.#try(path, () => this.#source.syscalls.readDirectory(path)) ?? [];
  }

  link(path: string): string | undefined {
    return this.#try(path, () => this.#source.syscalls.readLink(path));
  }

  /** Where a link leads, as an absolute path; undefined where there is no link. Sysfs has links to folders, not to links. */
  target(path: string): string | undefined {
    const link = this.link(path);
    return link === undefined ? undefined : resolved(path.slice(0, path.lastIndexOf("/")), link);
  }

  /** The targets of all links in a folder, by the links' names. */
  targets(folder: string): ReadonlyMap<string, string> {
    const entries = this.names(folder).map((name) => [name, this.target(`${folder}/${name}`)] as const);
    return new Map(entries.filter((entry): entry is readonly [string, string] => entry[1] !== undefined));
  }

  #try<T>(path: string, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      const answer = errnoName(error.errno);
      if (!absences.includes(answer)) this.#unread.set(general(path), answer);
      return undefined;
    }
  }
}

/** All processes are one to the reader of a message. */
function general(path: string): string {
  return path.replace(/^\/proc\/\d+\/(fd\/).*/, "/proc/PID/fd").replace(/^\/proc\/\d+\//, "/proc/PID/");
}

/** `/sys/class/block` and `../../devices/x` make `/sys/devices/x`. */
function resolved(folder: string, link: string): string {
  if (link.startsWith("/")) return link;
  const parts = folder.split("/");
  for (const part of link.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "." && part !== "") parts.push(part);
  }
  return parts.join("/");
}

/** The folder that something in sysfs is in, by its name. */
export function parentName(path: string): string {
  return baseName(path.slice(0, path.lastIndexOf("/")));
}

import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { constants } from "node:os";
import path from "node:path";
import type { FileStatus, MachineFiles } from "../../machine/machine-files.js";
import type { SysfsSource } from "../../machine/sysfs.js";
import { SyscallError } from "../../syscalls/syscalls.js";
import { isSystemError } from "../failure.js";

/** What a {@link Folder} has in it. */
interface FolderContent {
  /** What is `/` there; undefined where there is only a sysfs. */
  readonly root?: string;
  /** What is `/sys` there. */
  readonly sysfs: string;
  /** It is this machine's. */
  readonly isLive?: true;
}

/**
 * A machine that is a folder: this one, or a copy of another's files. Only reads, by Node.js's own means, so that looking at
 * a machine needs no native code. Of a copy nothing is read that is on another file system, as this machine's own /sys, /proc and
 * /dev are, wherever the copy's links lead.
 */
export class Folder implements MachineFiles, SysfsSource {
  /** Of this machine alone: who owns a copy says nothing. */
  readonly status?: (name: string) => FileStatus;
  readonly #root: string | undefined;
  readonly #sysfs: string;
  /** The file system of a copy; undefined for this machine. */
  readonly #device: number | undefined;
  /** By folder, whether it is on {@link #device}. */
  readonly #inside = new Map<string, boolean>();

  /** @param content a copy of a sysfs, or what there is. */
  constructor(content: string | FolderContent) {
    const { root, sysfs, isLive }: FolderContent = typeof content === "string" ? { sysfs: content } : content;
    this.#root = root === undefined ? undefined : path.resolve(root).replace(/\/$/, "");
    this.#sysfs = path.resolve(sysfs);
    if (isLive === true) this.status = (name) => this.#answer("stat", () => statusOf(this.#host(name)));
    else this.#device = deviceOf(this.#sysfs);
  }

  /** This machine. */
  static live(): Folder {
    return new Folder({ root: "/", sysfs: "/sys", isLive: true });
  }

  get syscalls(): MachineFiles {
    return this;
  }

  readFile(name: string): string {
    return this.#answer("openat", () => readFileSync(this.#host(name), "utf8"));
  }

  readBytes(name: string): Uint8Array {
    return this.#answer("openat", () => readFileSync(this.#host(name)));
  }

  readDirectory(name: string): readonly string[] {
    return this.#answer("openat", () => {
      const host = this.#place(name);
      if (!this.#isInside(host)) throw absent(name);
      return readdirSync(host).sort();
    });
  }

  readLink(name: string): string {
    return this.#answer("readlinkat", () => readlinkSync(this.#host(name)));
  }

  /** Of a file, which is no link that leads far away where its folder is inside. */
  #host(name: string): string {
    const host = this.#place(name);
    if (!this.#isInside(host.slice(0, host.lastIndexOf("/")))) throw absent(name);
    return host;
  }

  /** By hand: path.join costs as much as some of the calls, and there are tens of thousands on a large machine. */
  #place(name: string): string {
    if (name.startsWith("/sys/") || name === "/sys") return this.#sysfs + name.slice("/sys".length);
    if (this.#root === undefined) throw absent(name);
    return this.#root + name;
  }

  /** A link that was made absolute, or leads above the copy, would end among this machine's files. */
  #isInside(folder: string): boolean {
    if (this.#device === undefined) return true;
    let inside = this.#inside.get(folder);
    if (inside === undefined) {
      // What is not there is refused for that.
      inside = (deviceOf(folder) ?? this.#device) === this.#device;
      this.#inside.set(folder, inside);
    }
    return inside;
  }

  /** The kernel's refusal as the library knows it. */
  #answer<T>(syscall: string, call: () => T): T {
    try {
      return call();
    } catch (error) {
      if (!isSystemError(error) || error.errno === undefined) throw error;
      throw new SyscallError(syscall, Math.abs(error.errno), error.code ?? "");
    }
  }
}

/** The file system that a folder is on. */
function deviceOf(folder: string): number | undefined {
  return statSync(folder, { throwIfNoEntry: false })?.dev;
}

function absent(name: string): SyscallError {
  return new SyscallError("openat", constants.errno.ENOENT, "ENOENT", name);
}

function statusOf(file: string): FileStatus {
  const { mode, uid, gid } = statSync(file);
  return { mode, uid, gid };
}

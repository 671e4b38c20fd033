import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import path from "node:path";
import type { SysfsSource } from "../../machine/sysfs.js";
import { SyscallError } from "../../syscalls/syscalls.js";
import { isSystemError } from "../failure.js";

type Files = SysfsSource["syscalls"];

/**
 * A sysfs that is a folder: this machine's, or a copy of another's. Only reads, by Node.js's own means, so that looking at a
 * machine needs no native code.
 */
export class Folder implements SysfsSource, Files {
  readonly #sysfs: string;

  /** @param sysfs what is `/sys` here */
  constructor(sysfs: string) {
    this.#sysfs = path.resolve(sysfs);
  }

  get syscalls(): Files {
    return this;
  }

  readFile(name: string): string {
    return this.#answer("openat", () => readFileSync(this.#host(name), "utf8"));
  }

  readDirectory(name: string): readonly string[] {
    return this.#answer("openat", () => readdirSync(this.#host(name)).sort());
  }

  readLink(name: string): string {
    return this.#answer("readlinkat", () => readlinkSync(this.#host(name)));
  }

  /** The bytes of a file of firmware's; undefined where there is none. */
  firmware(name: string): Uint8Array | "denied" | undefined {
    try {
      return readFileSync(this.#host(name));
    } catch (error) {
      if (!isSystemError(error)) throw error;
      return error.code === "EACCES" || error.code === "EPERM" ? "denied" : undefined;
    }
  }

  /** By hand: path.join costs as much as some of the calls, and there are tens of thousands on a large machine. */
  #host(name: string): string {
    return name.startsWith("/sys") ? this.#sysfs + name.slice("/sys".length) : `${this.#sysfs}/${name}`;
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

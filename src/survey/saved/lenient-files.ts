import { errno } from "../../abi/errno.js";
import { IospanError } from "../../errors.js";
import type { FileStatus, MachineFiles } from "../../machine/machine-files.js";
import { SyscallError } from "../../syscalls/syscalls.js";

/**
 * The files of a saved machine for readers that shall do without what was not saved, because an older iospan did not read it:
 * it is refused like what has just gone, and kept in mind.
 */
export class LenientFiles implements MachineFiles {
  /** What was asked for and not saved. */
  readonly missing: Set<string> = new Set();
  readonly status?: (path: string) => FileStatus;
  readonly #inner: MachineFiles;

  constructor(inner: MachineFiles) {
    this.#inner = inner;
    const { status } = inner;
    if (status !== undefined) this.status = (path) => this.#answer(path, () => status.call(inner, path));
  }

  readFile(path: string): string {
    return this.#answer(path, () => this.#inner.readFile(path));
  }

  readBytes(path: string): Uint8Array {
    return this.#answer(path, () => this.#inner.readBytes(path));
  }

  readDirectory(path: string): readonly string[] {
    return this.#answer(path, () => this.#inner.readDirectory(path));
  }

  readLink(path: string): string {
    return this.#answer(path, () => this.#inner.readLink(path), "EINVAL");
  }

  /** @param refusal what readers take for an answer: a file whose device goes away, and what is no link. */
  #answer<T>(path: string, read: () => T, refusal: "ENODEV" | "EINVAL" = "ENODEV"): T {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof IospanError) || error.code !== "ERR_IOSPAN_SAVED_MACHINE") throw error;
      this.missing.add(path);
      throw new SyscallError("openat", errno[refusal], refusal, `${path} was not saved`);
    }
  }
}

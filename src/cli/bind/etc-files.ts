import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { HEADER, type PersistentFile } from "../../binding/persistence.js";
import { IospanError } from "../../errors.js";
import { isSystemError } from "../failure.js";

/** The system's configuration, as far as iospan writes it. */
export class EtcFiles {
  readonly #root: string;

  /** @param root what is `/` here. */
  constructor(root = "/") {
    this.#root = root;
  }

  /**
   * Writes files, all or none.
   * @returns what brings back what was there.
   * @throws IospanError `ERR_IOSPAN_BUSY` for a file that somebody else wrote, `ERR_IOSPAN_NO_PERMISSION`, `ERR_IOSPAN_SYSCALL`.
   */
  write(files: readonly PersistentFile[]): () => void {
    const before = files.map((file) => ({ path: file.path, text: this.#own(file.path) }));
    const undo = () => {
      for (const { path: name, text } of before) this.#put(name, text);
    };
    try {
      for (const { path: name, text } of files) this.#put(name, text);
      return undo;
    } catch (error) {
      undo();
      throw error;
    }
  }

  /** Removes files that iospan wrote. @returns those that were there. */
  remove(paths: readonly string[]): readonly string[] {
    const there = paths.filter((name) => this.#own(name) !== undefined);
    for (const name of there) this.#put(name, undefined);
    return there;
  }

  /** The text of a file of iospan's; undefined where there is none. */
  #own(name: string): string | undefined {
    const text = answered(name, () => optional(() => readFileSync(this.#host(name), "utf8")));
    if (text === undefined || text.startsWith(HEADER)) return text;
    throw new IospanError("ERR_IOSPAN_BUSY", `${name} is there, and iospan did not write it`, {
      hint: `its first line would begin with "${HEADER}"; see what it does, and move it away: mv ${name} ${name}.old`,
    });
  }

  #put(name: string, text: string | undefined): void {
    const host = this.#host(name);
    answered(name, () => {
      if (text === undefined) return rmSync(host, { force: true });
      mkdirSync(path.dirname(host), { recursive: true });
      writeFileSync(`${host}.iospan-new`, text, { mode: 0o644 });
      renameSync(`${host}.iospan-new`, host);
    });
  }

  #host(name: string): string {
    return path.join(this.#root, name);
  }
}

function optional(read: () => string): string | undefined {
  try {
    return read();
  } catch (error) {
    if (isSystemError(error) && error.code === "ENOENT") return undefined;
    throw error;
  }
}

function answered<T>(name: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    const denied = error.code === "EACCES" || error.code === "EPERM";
    throw new IospanError(denied ? "ERR_IOSPAN_NO_PERMISSION" : "ERR_IOSPAN_SYSCALL", `${name}: ${error.message}`, {
      hint: denied ? "run it with sudo" : "print the files and put them where they belong by hand: --persist=print",
      cause: error,
    });
  }
}

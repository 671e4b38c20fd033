import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import path from "node:path";
import type { RecordStore } from "../../binding/record-store.js";
import { IospanError } from "../../errors.js";
import { isSystemError } from "../failure.js";

/** It is emptied at boot, as the bindings are. */
export const STATE_FOLDER = "/run/iospan";

/** The record of bindings, in a folder. Written to a file beside it, which then takes its place. */
export function stateFolder(folder: string): RecordStore {
  const file = path.join(folder, "bindings.json");
  return {
    file,
    read: () => optional(() => readFileSync(file, "utf8")),
    write: (text) => answered(file, () => replace(file, text)),
    lock: () => answered(file, () => new FolderLock(folder)),
  };
}

function replace(file: string, text: string): void {
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o755 });
  const next = `${file}.${process.pid}`;
  try {
    writeSynced(next, text, "w");
    renameSync(next, file);
  } catch (error) {
    rmSync(next, { force: true });
    throw error;
  }
}

function writeSynced(file: string, text: string, flags: "w" | "wx"): void {
  const fd = openSync(file, flags, 0o644);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** A file that only one process can make, with its number in it. That of a process that has died is nobody's. */
class FolderLock implements Disposable {
  readonly #file: string;

  constructor(folder: string) {
    mkdirSync(folder, { recursive: true, mode: 0o755 });
    this.#file = path.join(folder, "lock");
    if (this.#take()) return;
    const holder = optional(() => readFileSync(this.#file, "utf8"))?.trim();
    if (holder !== undefined && isAlive(holder)) throw busy(this.#file, holder);
    rmSync(this.#file, { force: true });
    if (!this.#take()) throw busy(this.#file, "another");
  }

  #take(): boolean {
    try {
      writeSynced(this.#file, `${process.pid}\n`, "wx");
      return true;
    } catch (error) {
      if (isSystemError(error) && error.code === "EEXIST") return false;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#file, { force: true });
  }
}

function isAlive(pid: string): boolean {
  if (!/^\d+$/.test(pid)) return false;
  try {
    process.kill(Number(pid), 0);
    return true;
  } catch (error) {
    // Another user's is alive, too.
    return isSystemError(error) && error.code === "EPERM";
  }
}

function busy(file: string, holder: string): IospanError {
  return new IospanError("ERR_IOSPAN_BUSY", `another iospan changes bindings now: process ${holder}`, {
    hint: `try again when it has ended; ${file} is its lock`,
  });
}

function optional<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isSystemError(error) && (error.code === "ENOENT" || error.code === "ENOTDIR")) return undefined;
    throw error;
  }
}

/** What the file system refuses, in words. */
function answered<T>(file: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    const { code, message } = error;
    const denied = code === "EACCES" || code === "EPERM";
    throw new IospanError(
      denied ? "ERR_IOSPAN_NO_PERMISSION" : "ERR_IOSPAN_SYSCALL",
      `cannot write ${file}: ${message}`,
      {
        hint: denied
          ? "run it with sudo"
          : "iospan notes there where devices came from, and binds nothing without: make room for it",
        cause: error,
      },
    );
  }
}

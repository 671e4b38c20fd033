import { readFileSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { IospanError } from "../../errors.js";
import { parseSavedMachine } from "../../survey/saved/parse-saved-machine.js";
import type { SavedMachine } from "../../survey/saved/saved-machine.js";
import { isSystemError } from "../failure.js";
import { readStandardInput } from "../standard-input.js";

/** Thousands of devices take a few MiB; what is larger was not meant. */
const LARGEST = 256 * 2 ** 20;
const STANDARD_INPUT = ["-", "/dev/stdin"];
const HINT = "name a file that iospan saved a machine in, or - for the standard input";

/**
 * Reads a saved machine, also a compressed one (gzip).
 * @param file or `-`.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` where it cannot be read, `ERR_IOSPAN_SAVED_MACHINE` where it is none.
 */
export function readSavedMachine(file: string): SavedMachine {
  const isInput = STANDARD_INPUT.includes(file);
  const name = isInput ? "the standard input" : path.basename(file);
  try {
    const bytes = isInput ? readInput() : readWhole(file);
    return parseSavedMachine(new TextDecoder().decode(unpacked(bytes)), name);
  } catch (error) {
    if (!isSystemError(error) && !isPackedBadly(error)) throw error;
    const isMissing = "code" in error && error.code === "ENOENT";
    throw unreadable(file, isMissing ? "there is no such file" : error.message);
  }
}

/**
 * Writes a saved machine to a file beside it first, so that there is a whole one or none.
 * @param file compressed where it ends in `.gz`.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` where it cannot be written.
 */
export function writeSavedMachine(file: string, text: string): void {
  let beside: string | undefined;
  try {
    const target = writable(file);
    beside = `${target}.${process.pid}.tmp`;
    writeFileSync(beside, target.endsWith(".gz") ? gzipSync(text) : text, { flag: "wx", flush: true });
    renameSync(beside, target);
  } catch (error) {
    if (beside !== undefined) rmSync(beside, { force: true });
    if (!isSystemError(error)) throw error;
    throw unwritable(file, WHY_NOT[error.code ?? ""] ?? error.message.replace(/,[^,]*$/, ""));
  }
}

/** In place of messages with the name of the file beside it. */
const WHY_NOT: Readonly<Record<string, string>> = {
  ENOENT: "there is no such folder",
  ENOTDIR: "a file is named as a folder",
  EACCES: "its folder may not be written to (EACCES)",
  EPERM: "its folder may not be written to (EPERM)",
  EROFS: "its file system is read-only (EROFS)",
  ENOSPC: "there is no space left (ENOSPC)",
};

function readInput(): Uint8Array {
  return readStandardInput(LARGEST) ?? tooLarge("-", `more than ${LARGEST}`);
}

function readWhole(file: string): Uint8Array {
  const stat = statSync(file);
  // A pipe is as good as a file: `--machine <(ssh board cat board.json)`.
  if (!stat.isFile() && !stat.isFIFO()) throw unreadable(file, "it is not a file");
  return stat.size > LARGEST ? tooLarge(file, String(stat.size)) : readFileSync(file);
}

/** By its first bytes, since it may come from anywhere. */
function unpacked(bytes: Uint8Array): Uint8Array {
  return bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes, { maxOutputLength: LARGEST }) : bytes;
}

function isPackedBadly(error: unknown): error is Error {
  return error instanceof Error && "code" in error && /^(Z_|ERR_BUFFER_TOO_LARGE)/.test(String(error.code));
}

/** What is behind links, so that they stay; never in place of a device or a pipe. */
function writable(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (stat === undefined) return path.resolve(file);
  if (!stat.isFile()) throw unwritable(file, "it is not a file");
  return realpathSync(file);
}

function tooLarge(file: string, size: string): never {
  throw unreadable(file, `it has ${size} bytes`);
}

function unreadable(file: string, why: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `cannot read the saved machine ${file}: ${why}`, {
    hint: HINT,
  });
}

function unwritable(file: string, why: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `cannot save the machine in ${file}: ${why}`, {
    hint: "name a file in a folder that may be written to",
  });
}

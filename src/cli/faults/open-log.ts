import { spawn } from "node:child_process";
import { createReadStream, statSync } from "node:fs";
import { IospanError } from "../../errors.js";
import { isSystemError } from "../failure.js";
import { type FollowOptions, kmsgChunks, openKmsg } from "./kmsg.js";
import { type Chunk, linesOf } from "./lines.js";

/** The argument that means the standard input. */
export const STANDARD_INPUT = "-";
/** This machine's log. */
export const KMSG = "/dev/kmsg";

/** A kernel log that is being read. */
export interface OpenLog {
  /** What it is called in the output. */
  readonly name: string;
  /** Its lines; undefined for a pause of a log that is followed. */
  readonly lines: AsyncIterable<string | undefined>;
}

/**
 * Opens a kernel log.
 * @param wanted a file, `-`, or undefined for this machine's log: `/dev/kmsg`, or what dmesg prints where that cannot be read.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` when it cannot be read; reading this machine's, `ERR_IOSPAN_NO_PERMISSION`.
 */
export function openLog(wanted: string | undefined, options: FollowOptions): OpenLog {
  if (wanted === undefined) return openOwn(options);
  if (wanted === STANDARD_INPUT) return openInput(options);
  if (isKmsg(wanted)) return { name: wanted, lines: linesOf(kmsgChunks(openKmsg(wanted), options), options) };
  return { name: wanted, lines: linesOf(fileChunks(wanted), options) };
}

function openInput(options: FollowOptions): OpenLog {
  const { stdin } = process;
  // As long as somebody may still write to it, it would keep the process.
  options.signal.addEventListener("abort", () => stdin.destroy(), { once: true });
  return { name: "the standard input", lines: linesOf(stdin, options) };
}

function openOwn(options: FollowOptions): OpenLog {
  try {
    return { name: KMSG, lines: linesOf(kmsgChunks(openKmsg(KMSG), options), options) };
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return { name: "dmesg", lines: linesOf(dmesgChunks(error.message, options), options) };
  }
}

/** It gives a record a read, and never ends. @throws IospanError as {@link openLog}. */
function isKmsg(file: string): boolean {
  try {
    const stat = statSync(file);
    if (stat.isDirectory()) throw unreadable(file, "it is a directory");
    return file === KMSG && stat.isCharacterDevice();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw unreadable(file, error.code === "ENOENT" ? "there is no such file" : error.message);
  }
}

async function* fileChunks(file: string): AsyncGenerator<Chunk> {
  try {
    yield* createReadStream(file) as AsyncIterable<Chunk>;
  } catch (error) {
    throw isSystemError(error) ? unreadable(file, error.message) : error;
  }
}

/** @param refusal why `/dev/kmsg` cannot be read. */
async function* dmesgChunks(refusal: string, { follow, signal }: FollowOptions): AsyncGenerator<Chunk> {
  const dmesg = spawn("dmesg", follow ? ["--follow"] : [], { stdio: ["ignore", "pipe", "pipe"] });
  const end = new Promise<string>((resolve) => {
    let said = "";
    dmesg.stderr.on("data", (part) => {
      said += part;
    });
    dmesg.on("error", (error) => resolve(error.message));
    dmesg.on("close", (code) => resolve(code === 0 ? "" : said.trim() || `dmesg ended with ${code}`));
  });
  const stop = () => void dmesg.kill();
  signal.addEventListener("abort", stop, { once: true });
  try {
    yield* dmesg.stdout as AsyncIterable<Chunk>;
    const failure = await end;
    if (failure !== "" && !signal.aborted) throw notAllowed(`${refusal}; ${failure}`);
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
}

function unreadable(file: string, why: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `cannot read the log ${file}: ${why}`, {
    hint: "name a file with what dmesg or journalctl -k printed, or - for the standard input",
  });
}

function notAllowed(why: string): IospanError {
  return new IospanError("ERR_IOSPAN_NO_PERMISSION", `cannot read this machine's kernel log: ${why}`, {
    hint: "sudo iospan faults, or: sudo dmesg | iospan faults -",
  });
}

import { closeSync, constants, openSync, readSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { isSystemError } from "../failure.js";

/** Whether to wait for what is yet to come, and until when. */
export interface FollowOptions {
  readonly follow: boolean;
  /** Ends following. */
  readonly signal: AbortSignal;
}

/** `/dev/kmsg`, or what a test has instead. */
export interface Kmsg {
  /** Reads one record. @returns its bytes. @throws `EAGAIN` when there is none yet, `EPIPE` when some were overwritten. */
  read(into: Uint8Array): number;
  close(): void;
}

/** The largest record (printk.c, PRINTK_MESSAGE_MAX); reading with less is refused. */
const RECORD_SIZE = 8192;
/** It can be polled, but not by Node.js, whose reads of a file that does not answer hold up others. */
const POLL_MS = 200;

/** Opens `/dev/kmsg` at its oldest record. @throws what the system has against it: `EPERM` where dmesg_restrict is set. */
export function openKmsg(file: string): Kmsg {
  const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  return { read: (into) => readSync(fd, into), close: () => closeSync(fd) };
}

/** All records there are, and those to come when it is followed; then it is closed. */
export async function* kmsgChunks(kmsg: Kmsg, { follow, signal }: FollowOptions): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(RECORD_SIZE);
  try {
    while (!signal.aborted) {
      const length = readRecord(kmsg, buffer);
      if (length > 0) yield buffer.slice(0, length);
      else if (follow) await setTimeout(POLL_MS, undefined, { signal }).catch(() => {});
      else return;
    }
  } finally {
    kmsg.close();
  }
}

/** @returns 0 when there is nothing yet. */
function readRecord(kmsg: Kmsg, buffer: Uint8Array): number {
  for (;;) {
    try {
      return kmsg.read(buffer);
    } catch (error) {
      if (!isSystemError(error)) throw error;
      if (error.code === "EAGAIN") return 0;
      // The next read goes on with the oldest record there is.
      if (error.code !== "EPIPE") throw error;
    }
  }
}

import { readSync } from "node:fs";
import { isSystemError } from "./failure.js";

/**
 * Reads the standard input to its end, waiting for it where it must. Through its descriptor: Linux opens no socket by name, and
 * sockets are what Node.js connects programs with.
 * @param most bytes.
 * @returns undefined where there are more.
 * @throws what the system has against reading it.
 */
export function readStandardInput(most: number): Uint8Array | undefined {
  const parts: Uint8Array[] = [];
  for (let size = 0; size <= most; ) {
    const part = new Uint8Array(2 ** 16);
    const length = readPart(part);
    if (length === 0) return Buffer.concat(parts);
    parts.push(part.subarray(0, length));
    size += length;
  }
  return undefined;
}

/** @returns bytes read; 0 at the end. Waits also where the other end made it one that does not wait. */
function readPart(part: Uint8Array): number {
  for (;;) {
    try {
      return readSync(0, part);
    } catch (error) {
      if (!isSystemError(error) || error.code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
  }
}

import { IospanError } from "../errors.js";

/**
 * A size or offset as a number of bytes.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` unless it is an integer from 1 to 2^53-1 (from 0 for an offset).
 */
export function byteCount(value: number | bigint, what: string, least = 1): number {
  const bytes = Number(value);
  if (!Number.isSafeInteger(bytes) || bytes < least) {
    throw new IospanError(
      "ERR_IOSPAN_INVALID_ARGUMENT",
      `${what} is ${value}; it must be an integer of at least ${least}`,
      {
        hint: "sizes and offsets are in bytes",
      },
    );
  }
  return bytes;
}

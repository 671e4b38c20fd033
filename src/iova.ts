import { IospanError } from "./errors.js";

declare const iovaBrand: unique symbol;

/** An I/O virtual address: what a device puts on the bus and its IOMMU translates. 0 to 2^64-1. */
export type Iova = bigint & { readonly [iovaBrand]: true };

/** A range of I/O virtual addresses; `end` is the last address inside it, as the kernel reports ranges. */
export interface IovaRange {
  readonly start: Iova;
  readonly end: Iova;
}

const LAST_IOVA = 2n ** 64n - 1n;

/**
 * Makes an {@link Iova} of an integer from 0 to 2^64-1.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for anything else, an unsafe `number` among it.
 */
export function iova(value: number | bigint): Iova {
  if (typeof value !== "bigint" && !Number.isSafeInteger(value)) throw notAnIova(value);
  const address = BigInt(value);
  if (address < 0n || address > LAST_IOVA) throw notAnIova(value);
  return address as Iova;
}

function notAnIova(value: number | bigint): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${value} is not an IOVA (an integer from 0 to 2^64-1)`, {
    hint: "pass a bigint for addresses above 2^53",
  });
}

/** `0x…`, the way addresses are written in messages and logs. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

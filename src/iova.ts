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
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for anything else, a text and an unsafe `number` among it.
 */
export function iova(value: number | bigint): Iova {
  if (typeof value !== "bigint" && !Number.isSafeInteger(value)) throw notAnIova(value);
  const address = BigInt(value);
  if (address < 0n || address > LAST_IOVA) throw notAnIova(value);
  return address as Iova;
}

/** Of programs without types it can be anything. */
function notAnIova(value: unknown): IospanError {
  const found = typeof value === "string" ? JSON.stringify(value) : String(value);
  const message = `${found} is not an IOVA (an integer from 0 to 2^64-1)`;
  if (typeof value === "bigint" || typeof value === "number") return refused(message, numberHint(value));
  return refused(
    `${message} but of type ${typeof value}`,
    "pass a bigint or a number: 0x1000n, or BigInt(text) of a text",
  );
}

function numberHint(value: number | bigint): string {
  const isInexact = typeof value === "number" && Number.isInteger(value) && value > 0;
  return isInexact ? "numbers are exact below 2^53 only: pass a bigint, 0x1000n" : "pass an integer in that range";
}

function refused(message: string, hint: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", message, { hint });
}

/** `0x…`, the way addresses are written in messages and logs. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

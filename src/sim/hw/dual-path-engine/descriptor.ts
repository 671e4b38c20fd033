import { struct } from "../../../abi/codec.js";
import { u32, u64 } from "../../../abi/fields.js";
import { ALIGNMENT, type ErrorCause, errorCauses } from "./registers.js";

/** Bytes of a descriptor. */
export const DESCRIPTOR_SIZE = 32;

/** A descriptor as the driver writes it. All integers are little-endian. */
export const request = struct("dual_path_request", {
  source: u64,
  destination: u64,
  length: u32,
  flags: u32,
  /** FILL: 8 bytes that are repeated. */
  pattern: u64,
});

/** A descriptor as the engine writes it back when it is completed. */
export const completion = struct("dual_path_completion", {
  /** TIME when the first chunk was begun. */
  started: u64,
  /** TIME when the last chunk was in memory. */
  finished: u64,
  /** Bytes of the destination that were written. In error these need not be the first ones. */
  bytes: u32,
  status: u32,
  /** In error: the first IOVA that was not accessed, or the address that is not aligned. */
  address: u64,
});

/** What a descriptor asks for: bits 3:0 of its flags. */
export const operations = { COPY: 1, FILL: 2 } as const;

/** Bits of a descriptor's flags. */
export const descriptorFlags = {
  OPERATION: { bit: 0, bits: 4, does: "1: COPY source to destination. 2: FILL the destination with the pattern." },
  FUNCTION: { bit: 4, does: "Chunks go through the PCIe function. With PORT: every second one, from the first on." },
  PORT: { bit: 5, does: "Chunks go through the platform port." },
  INTERRUPT: { bit: 8, does: "Set DONE in INTERRUPT_STATUS when completed." },
  LAST: { bit: 9, does: "Clear ENABLE in CONTROL when completed." },
  DONE: { bit: 31, does: "Must be 0." },
} as const;

/** Bits of a completed descriptor's status. */
export const completionFlags = {
  ERROR: { bit: 0, bits: 4, does: "0: all went well. Else the number of the cause in ERROR_STATUS, plus 1." },
  FUNCTION: { bit: 4, does: "The fault was on the PCIe function." },
  PORT: { bit: 5, does: "The fault was on the platform port." },
  DONE: { bit: 31, does: "1." },
} as const;

const OPERATION_MASK = 0xf;
const KNOWN_FLAGS =
  OPERATION_MASK |
  (1 << descriptorFlags.FUNCTION.bit) |
  (1 << descriptorFlags.PORT.bit) |
  (1 << descriptorFlags.INTERRUPT.bit) |
  (1 << descriptorFlags.LAST.bit);

/** The interfaces by number. */
export const interfaces = ["function", "port"] as const;
/** 0: the PCIe function; 1: the platform port. */
export type InterfaceNumber = 0 | 1;

/** What a descriptor asks for, understood. */
export interface Job {
  readonly operation: "copy" | "fill";
  readonly source: bigint;
  readonly destination: bigint;
  readonly length: number;
  readonly pattern: bigint;
  /** Through which its chunks go, in turn. */
  readonly via: readonly InterfaceNumber[];
  readonly interrupt: boolean;
  readonly last: boolean;
}

/** Why a descriptor, or the ring, went wrong. */
export interface Failure {
  readonly cause: ErrorCause;
  readonly address: bigint;
  /** Where a fault was; undefined for what was wrong to begin with. */
  readonly via: InterfaceNumber | undefined;
}

/** How a descriptor was completed. */
export interface Outcome {
  readonly started: number;
  readonly finished: number;
  readonly bytes: number;
  readonly failure: Failure | undefined;
}

/** Reads a descriptor. What it says is checked by {@link mistakeIn}. */
export function decodeRequest(bytes: Uint8Array): { readonly job: Job; readonly flags: number } {
  const { source, destination, length, flags, pattern } = request.decode(bytes);
  const has = (name: "FUNCTION" | "PORT" | "INTERRUPT" | "LAST") => ((flags >>> descriptorFlags[name].bit) & 1) === 1;
  const via: InterfaceNumber[] = [];
  if (has("FUNCTION")) via.push(0);
  if (has("PORT")) via.push(1);
  const operation = (flags & OPERATION_MASK) === operations.FILL ? "fill" : "copy";
  const job = { operation, source, destination, length, pattern, via } as const;
  return { job: { ...job, interrupt: has("INTERRUPT"), last: has("LAST") }, flags };
}

/** Why the engine does not begin with a job; undefined when nothing is wrong. */
export function mistakeIn(job: Job, flags: number, isWired: (via: InterfaceNumber) => boolean): Failure | undefined {
  const operation = flags & OPERATION_MASK;
  const known = operation === operations.COPY || operation === operations.FILL;
  if (!known || (flags & ~KNOWN_FLAGS) !== 0) return mistake("BAD_DESCRIPTOR");
  if (job.via.length === 0 || !job.via.every(isWired)) return mistake("BAD_DESCRIPTOR");
  const addresses = job.operation === "fill" ? [job.destination] : [job.source, job.destination];
  const misaligned = addresses.find((address) => address % BigInt(ALIGNMENT) !== 0n);
  if (misaligned !== undefined) return mistake("BAD_ALIGNMENT", misaligned);
  if (job.length % ALIGNMENT !== 0) return mistake("BAD_ALIGNMENT");
  const tooFar = addresses.find((address) => address + BigInt(job.length) > END_OF_ADDRESSES);
  if (job.length === 0 || tooFar !== undefined) return mistake("BAD_LENGTH", tooFar);
  return undefined;
}

const END_OF_ADDRESSES = 2n ** 64n;

function mistake(cause: ErrorCause, address = 0n): Failure {
  return { cause, address, via: undefined };
}

/** The 32 bytes that say how a descriptor was completed. */
export function encodeOutcome({ started, finished, bytes, failure }: Outcome): Uint8Array {
  const { FUNCTION, PORT, DONE } = completionFlags;
  let status = 2 ** DONE.bit;
  if (failure !== undefined) status += 1 + errorCauses.indexOf(failure.cause);
  if (failure?.via !== undefined) status += 1 << (failure.via === 0 ? FUNCTION : PORT).bit;
  return completion.encode({ started, finished, bytes, status, address: failure?.address ?? 0n });
}

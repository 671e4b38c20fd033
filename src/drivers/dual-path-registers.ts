import { struct } from "../abi/codec.js";
import { u32, u64 } from "../abi/fields.js";

// The dual-path engine's registers, version 1.0. Offsets are in bytes from the start of BAR 0 and of the port's frame.

/** "DPE1", little-endian: what ID reads. */
export const ID_VALUE = 0x3145_5044;
/** The upper half of VERSION that this driver knows. */
export const MAJOR_VERSION = 1;

export const REGISTER = {
  ID: 0x000,
  VERSION: 0x004,
  CAPABILITIES: 0x008,
  INTERFACE: 0x00c,
  SCRATCH: 0x010,
  CONTROL: 0x020,
  STATUS: 0x024,
  STRIPE: 0x028,
  RING_BASE: 0x030,
  RING_SIZE: 0x038,
  HEAD: 0x03c,
  TAIL: 0x040,
  ERROR_STATUS: 0x050,
  ERROR_ADDRESS: 0x058,
  INTERRUPT_STATUS: 0x060,
  INTERRUPT_ENABLE: 0x064,
  TIME: 0x070,
  FUNCTION_BYTES: 0x078,
  PORT_BYTES: 0x080,
  COMPLETED: 0x088,
} as const;

export const CONTROL = { ENABLE: 1 << 0, RESET: 1 << 1, RING_PORT: 1 << 4 } as const;
export const STATUS = { BUSY: 1 << 0, HALTED: 1 << 1 } as const;
export const INTERRUPT = { DONE: 1 << 0, ERROR: 1 << 1 } as const;
/** The causes in ERROR_STATUS by bit, and in a completion's status by bit plus 1. */
export const CAUSES = [
  "READ_FAULT",
  "WRITE_FAULT",
  "FETCH_FAULT",
  "WRITEBACK_FAULT",
  "BAD_DESCRIPTOR",
  "BAD_LENGTH",
  "BAD_ALIGNMENT",
  "BAD_RING",
] as const;
/** One of {@link CAUSES}. */
export type Cause = (typeof CAUSES)[number];
export const ERROR_STATUS = { CAUSES: 0xff, FUNCTION: 1 << 8, PORT: 1 << 9 } as const;

/** Descriptors that a ring may have: a power of two up to this. */
export const MOST_DESCRIPTORS = 65536;
/** Addresses and lengths are multiples of this many bytes. */
export const ALIGNMENT = 8;
/** The sizes of chunks are powers of two between these. */
export const CHUNK = { LEAST: 64, MOST: 65536 } as const;

/** What the driver puts into the ring. */
export const request = struct("dual_path_request", {
  source: u64,
  destination: u64,
  length: u32,
  flags: u32,
  pattern: u64,
});

/** What the engine puts in its place. */
export const completion = struct("dual_path_completion", {
  started: u64,
  finished: u64,
  bytes: u32,
  status: u32,
  address: u64,
});

export const REQUEST = { COPY: 1, FILL: 2, FUNCTION: 1 << 4, PORT: 1 << 5, INTERRUPT: 1 << 8 } as const;
export const COMPLETION = { CAUSE: 0xf, FUNCTION: 1 << 4, PORT: 1 << 5, DONE: 2 ** 31 } as const;

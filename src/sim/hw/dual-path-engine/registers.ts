/** A part of a register. */
export interface RegisterField {
  /** The lowest bit. */
  readonly bit: number;
  /** Bits; 1 where absent. */
  readonly bits?: number;
  readonly does: string;
}

/** A register of the engine. Both interfaces show the same; banked ones are there once for each. */
export interface Register {
  /** Bytes from the frame's start. */
  readonly offset: number;
  /** Bytes. Registers of 8 can be accessed as a whole or in halves of 4. */
  readonly width: 4 | 8;
  /** RO: writes are ignored. RW. W1C: reads as it is, writing 1 clears a bit. */
  readonly access: "RO" | "RW" | "W1C";
  readonly banked?: boolean;
  readonly does: string;
  readonly fields?: Readonly<Record<string, RegisterField>>;
}

/** "DPE1", little-endian. */
export const ID_VALUE = 0x3145_5044;
/** Major version in the upper half, minor in the lower one. */
export const VERSION_VALUE = 0x0001_0000;
/** Bytes of a register frame. */
export const FRAME_SIZE = 0x1000;

/** What can go wrong, in the order of ERROR_STATUS's bits. A descriptor's status has the bit's number plus 1. */
export const errorCauses = [
  "READ_FAULT",
  "WRITE_FAULT",
  "FETCH_FAULT",
  "WRITEBACK_FAULT",
  "BAD_DESCRIPTOR",
  "BAD_LENGTH",
  "BAD_ALIGNMENT",
  "BAD_RING",
] as const;

/** One of {@link errorCauses}. */
export type ErrorCause = (typeof errorCauses)[number];

/** Bits of INTERRUPT_STATUS and INTERRUPT_ENABLE. */
const interruptFields = {
  DONE: { bit: 0, does: "A descriptor that asked for it is completed, in error too." },
  ERROR: { bit: 1, does: "ERROR_STATUS has a cause." },
} as const satisfies Record<string, RegisterField>;

/**
 * The register map. [REGISTERS.md](./REGISTERS.md) is made from it. What lies between registers reads as zero and ignores
 * writes; accesses of 1 and 2 bytes read as all ones and are not written.
 */
export const registers = {
  ID: { offset: 0x000, width: 4, access: "RO", does: 'What device this is: 0x31455044, "DPE1".' },
  VERSION: {
    offset: 0x004,
    width: 4,
    access: "RO",
    does: "Version of this register map: 1.0.",
    fields: { MINOR: { bit: 0, bits: 16, does: "Additions." }, MAJOR: { bit: 16, bits: 16, does: "Breaks." } },
  },
  CAPABILITIES: {
    offset: 0x008,
    width: 4,
    access: "RO",
    does: "What this engine is built with.",
    fields: {
      FUNCTION: { bit: 0, does: "The PCIe function is wired." },
      PORT: { bit: 1, does: "The platform port is wired." },
      OUTSTANDING: { bit: 8, bits: 8, does: "Chunks that each interface has under way at most." },
      ALIGNMENT: { bit: 16, bits: 8, does: "Log2 of what addresses and lengths are multiples of." },
      RING: { bit: 24, bits: 8, does: "Log2 of the most descriptors that a ring has." },
    },
  },
  INTERFACE: {
    offset: 0x00c,
    width: 4,
    access: "RO",
    banked: true,
    does: "Which interface this frame belongs to: 0 the PCIe function, 1 the platform port.",
  },
  SCRATCH: {
    offset: 0x010,
    width: 4,
    access: "RW",
    does: "Holds what is written. What is written on one interface reads on the other: so a driver can tell that both are one engine's.",
  },
  CONTROL: {
    offset: 0x020,
    width: 4,
    access: "RW",
    does: "Starts and stops the engine.",
    fields: {
      ENABLE: { bit: 0, does: "Descriptors are executed. Cleared: the engine stops after the one under way." },
      RESET: {
        bit: 1,
        does: "Writing 1 resets the engine: what is under way is given up, all registers but TIME are as at power-on. Reads as 0.",
      },
      RING_PORT: { bit: 4, does: "The ring is reached through the platform port; cleared: through the PCIe function." },
    },
  },
  STATUS: {
    offset: 0x024,
    width: 4,
    access: "RO",
    does: "What the engine does. While it is busy, reading lets time pass.",
    fields: {
      BUSY: { bit: 0, does: "A descriptor is under way." },
      HALTED: { bit: 1, does: "ERROR_STATUS has a cause: no descriptor is begun until all are cleared." },
    },
  },
  STRIPE: {
    offset: 0x028,
    width: 4,
    access: "RW",
    does: "How jobs are cut into chunks. A job through both interfaces has them alternate, the first through the function.",
    fields: {
      CHUNK: { bit: 0, bits: 5, does: "Log2 of a chunk's bytes, 6 to 16; 12 after reset. Others become the nearest." },
    },
  },
  RING_BASE: {
    offset: 0x030,
    width: 8,
    access: "RW",
    does: "IOVA of the ring, a multiple of 32. Writes are ignored while enabled or busy.",
  },
  RING_SIZE: {
    offset: 0x038,
    width: 4,
    access: "RW",
    does: "Descriptors in the ring: a power of two, 2 to 65536. Writes are ignored while enabled or busy.",
  },
  HEAD: {
    offset: 0x03c,
    width: 4,
    access: "RO",
    does: "The descriptor that is executed next, or now. While the engine is busy, reading lets time pass.",
  },
  TAIL: {
    offset: 0x040,
    width: 4,
    access: "RW",
    does: "The doorbell: the descriptor before which the engine stops. With HEAD equal to TAIL the ring is empty.",
  },
  ERROR_STATUS: {
    offset: 0x050,
    width: 4,
    access: "W1C",
    does: "What went wrong, since it was cleared. Clearing the last cause clears the rest, and the engine goes on.",
    fields: {
      READ_FAULT: { bit: 0, does: "A source could not be read." },
      WRITE_FAULT: { bit: 1, does: "A destination could not be written." },
      FETCH_FAULT: { bit: 2, does: "A descriptor could not be read. HEAD stays at it." },
      WRITEBACK_FAULT: { bit: 3, does: "A descriptor's completion could not be written. HEAD stays at it." },
      BAD_DESCRIPTOR: { bit: 4, does: "A descriptor with an operation, interface or flag that there is not." },
      BAD_LENGTH: { bit: 5, does: "A length of 0, or beyond the last address." },
      BAD_ALIGNMENT: { bit: 6, does: "An address or length that is no multiple of 8." },
      BAD_RING: {
        bit: 7,
        does: "RING_BASE, RING_SIZE or TAIL is no such thing, or HEAD is beyond the ring: then only a reset helps, or its old size.",
      },
      FUNCTION: { bit: 8, does: "The first fault was on the PCIe function." },
      PORT: { bit: 9, does: "The first fault was on the platform port." },
      INDEX: { bit: 16, bits: 16, does: "The descriptor of the first cause." },
    },
  },
  ERROR_ADDRESS: {
    offset: 0x058,
    width: 8,
    access: "RO",
    does: "The first cause's address: the first IOVA that was not accessed, or the address that is not aligned.",
  },
  INTERRUPT_STATUS: {
    offset: 0x060,
    width: 4,
    access: "W1C",
    banked: true,
    does: "What happened. While the engine is busy, reading lets time pass.",
    fields: interruptFields,
  },
  INTERRUPT_ENABLE: {
    offset: 0x064,
    width: 4,
    access: "RW",
    banked: true,
    does: "What interrupts. The wire is high while a bit is set in both; a message is sent when one becomes so, and when one is left after clearing another.",
    fields: interruptFields,
  },
  TIME: {
    offset: 0x070,
    width: 8,
    access: "RO",
    does: "Nanoseconds since power-on. While the engine is busy, reading lets time pass.",
  },
  FUNCTION_BYTES: {
    offset: 0x078,
    width: 8,
    access: "RO",
    does: "Bytes of destinations that were written through the PCIe function.",
  },
  PORT_BYTES: {
    offset: 0x080,
    width: 8,
    access: "RO",
    does: "Bytes of destinations that were written through the platform port.",
  },
  COMPLETED: { offset: 0x088, width: 4, access: "RO", does: "Descriptors completed, those in error among them." },
} as const satisfies Record<string, Register>;

/** A register's name. */
export type RegisterName = keyof typeof registers;

/** What {@link errorCauses} are called in ERROR_STATUS, as a mask. */
export function causeMask(cause: ErrorCause): number {
  return 1 << registers.ERROR_STATUS.fields[cause].bit;
}

const LOG2_ALIGNMENT = 3;
const LOG2_MOST_DESCRIPTORS = 16;

/** What addresses and lengths are multiples of, in bytes. */
export const ALIGNMENT: number = 2 ** LOG2_ALIGNMENT;
/** The most descriptors of a ring. */
export const MOST_DESCRIPTORS: number = 2 ** LOG2_MOST_DESCRIPTORS;

/** The value of CAPABILITIES. */
export function capabilities(wired: { function: boolean; port: boolean; outstanding: number }): number {
  const { FUNCTION, PORT, OUTSTANDING, ALIGNMENT: aligned, RING } = registers.CAPABILITIES.fields;
  return (
    (Number(wired.function) << FUNCTION.bit) |
    (Number(wired.port) << PORT.bit) |
    (wired.outstanding << OUTSTANDING.bit) |
    (LOG2_ALIGNMENT << aligned.bit) |
    (LOG2_MOST_DESCRIPTORS << RING.bit)
  );
}

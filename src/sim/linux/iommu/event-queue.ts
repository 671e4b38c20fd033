import { EVENT_SIZE } from "../../hw/smmu/events.js";
import { registers } from "../../hw/smmu/registers.js";
import type { SmmuV3 } from "../../hw/smmu/smmu.js";
import type { CoherentMemory, SharedMemory } from "./coherent-memory.js";

/** What the thread does with what it finds. */
export interface EventHandler {
  /** @param record the 32 bytes of an event */
  event(record: Uint8Array): void;
  /** The SMMU had no room for some. */
  overflow(): void;
}

/** The kernel's end of an event queue. */
export class EventQueue {
  readonly #hardware: SmmuV3;
  readonly #log2Size: number;
  readonly #memory: SharedMemory;
  readonly #bytes: Uint8Array;
  /** Index and wrap bit of the next event to read. */
  #cons = 0;
  /** The overflow flag as the kernel has acknowledged it. */
  #overflow = 0;

  /** Refuses with ENOMEM. */
  constructor(hardware: SmmuV3, memory: CoherentMemory, log2Size: number) {
    this.#hardware = hardware;
    this.#log2Size = log2Size;
    this.#memory = memory.allocate(2 ** log2Size * EVENT_SIZE);
    const { buffer, byteOffset, byteLength } = this.#memory.words;
    this.#bytes = new Uint8Array(buffer, byteOffset, byteLength);
  }

  /** Tells the SMMU where the queue is. */
  install(): void {
    const base = registers.EVENTQ_BASE.encode({ ADDR: this.#memory.address, LOG2SIZE: this.#log2Size, RA: 1 });
    this.#hardware.write64(registers.EVENTQ_BASE.offset, base);
    this.#hardware.write32(registers.EVENTQ_PROD.offset, 0);
    this.#hardware.write32(registers.EVENTQ_CONS.offset, 0);
  }

  /** Reads all events (arm-smmu-v3.c, arm_smmu_evtq_thread). */
  drain(handler: EventHandler): void {
    let seenOverflow = this.#overflow;
    for (;;) {
      const { WR, OVFLG } = registers.EVENTQ_PROD.decode(this.#hardware.read32(registers.EVENTQ_PROD.offset));
      if (OVFLG !== seenOverflow) handler.overflow();
      seenOverflow = OVFLG;
      if (WR === this.#cons) break;
      while (this.#cons !== WR) this.#take(handler);
    }
    if (seenOverflow === this.#overflow) return;
    this.#overflow = seenOverflow;
    this.#publish();
  }

  #take(handler: EventHandler): void {
    const at = (this.#cons % 2 ** this.#log2Size) * EVENT_SIZE;
    // The SMMU may write over it as soon as it is told that it was read.
    const record = this.#bytes.slice(at, at + EVENT_SIZE);
    this.#cons = (this.#cons + 1) % 2 ** (this.#log2Size + 1);
    this.#publish();
    handler.event(record);
  }

  #publish(): void {
    const value = registers.EVENTQ_CONS.encode({ RD: this.#cons, OVACKFLG: this.#overflow });
    this.#hardware.write32(registers.EVENTQ_CONS.offset, value);
  }
}

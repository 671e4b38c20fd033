import type { PhysicalMemory } from "../physical-memory.js";
import { wordsToBytes } from "./bit-fields.js";
import type { Counters } from "./counters.js";
import { EVENT_SIZE } from "./events.js";
import type { GlobalErrors } from "./global-errors.js";
import type { Interrupts } from "./interrupts.js";
import { isQueueFull, nextPosition, positionIndex, positionOf } from "./queue-position.js";
import type { RegisterFile } from "./register-file.js";
import { registers } from "./registers.js";

/** The event queue: records that the SMMU writes to memory (Arm IHI 0070, 7.2 and 7.4). */
export class EventQueue {
  readonly #memory: PhysicalMemory;
  readonly #registers: RegisterFile;
  readonly #errors: GlobalErrors;
  readonly #interrupts: Interrupts;
  readonly #counters: Counters;
  readonly #maxLog2Size: number;

  constructor(
    memory: PhysicalMemory,
    file: RegisterFile,
    errors: GlobalErrors,
    interrupts: Interrupts,
    counters: Counters,
    maxLog2Size: number,
  ) {
    this.#memory = memory;
    this.#registers = file;
    this.#errors = errors;
    this.#interrupts = interrupts;
    this.#counters = counters;
    this.#maxLog2Size = maxLog2Size;
  }

  /** Writes a record, or loses it. */
  record(words: ArrayLike<bigint>): void {
    if (this.#write(words)) this.#counters.events++;
    else this.#counters.lostEvents++;
  }

  #write(words: ArrayLike<bigint>): boolean {
    const isEnabled = this.#registers.field(registers.CR0, "EVENTQEN") === 1;
    if (!isEnabled || this.#errors.isActive("EVENTQ_ABT_ERR")) return false;
    const log2Size = Math.min(this.#registers.field(registers.EVENTQ_BASE, "LOG2SIZE"), this.#maxLog2Size);
    const producer = positionOf(this.#registers.field(registers.EVENTQ_PROD, "WR"), log2Size);
    const consumer = positionOf(this.#registers.field(registers.EVENTQ_CONS, "RD"), log2Size);
    if (isQueueFull(producer, consumer, log2Size)) {
      this.#overflow();
      return false;
    }
    const address = this.#registers.field(registers.EVENTQ_BASE, "ADDR");
    const base = address - (address % (EVENT_SIZE * 2 ** log2Size));
    if (!this.#memory.write(base + positionIndex(producer, log2Size) * EVENT_SIZE, wordsToBytes(words))) {
      this.#errors.activate("EVENTQ_ABT_ERR");
      return false;
    }
    this.#produce(nextPosition(producer, log2Size), this.#registers.field(registers.EVENTQ_PROD, "OVFLG"));
    const wasEmpty = producer === consumer;
    if (wasEmpty && !this.#interrupts.eventQueue()) this.#errors.activate("MSI_EVENTQ_ABT_ERR");
    return true;
  }

  /** OVFLG says it until OVACKFLG agrees; a second overflow before that is not told. */
  #overflow(): void {
    const flag = this.#registers.field(registers.EVENTQ_PROD, "OVFLG");
    if (flag !== this.#registers.field(registers.EVENTQ_CONS, "OVACKFLG")) return;
    this.#produce(this.#registers.field(registers.EVENTQ_PROD, "WR"), 1 - flag);
  }

  #produce(WR: number, OVFLG: number): void {
    this.#registers.set(registers.EVENTQ_PROD.offset, registers.EVENTQ_PROD.encode({ WR, OVFLG }));
  }
}

import { NO_ANSWER, type PhysicalMemory } from "../physical-memory.js";
import { COMMAND_SIZE } from "./commands.js";
import type { Counters } from "./counters.js";
import type { GlobalErrors } from "./global-errors.js";
import { nextPosition, positionIndex, positionOf } from "./queue-position.js";
import type { RegisterFile } from "./register-file.js";
import { commandErrors, registers } from "./registers.js";

/** Does what commands say. */
export interface CommandExecutor {
  /** @param words of 32 bits. @returns false for an illegal command, which then had no effect */
  execute(words: Uint32Array): boolean;
  /** CMDQ_CONS is past the command by now: the moment to signal its completion. */
  consumed(): void;
}

/**
 * The command queue. The SMMU takes its time on hardware; here everything up to CMDQ_PROD is consumed before the write that
 * produced it returns (Arm IHI 0070, 4.1.4 permits any pace).
 */
export class CommandQueue {
  readonly #memory: PhysicalMemory;
  readonly #registers: RegisterFile;
  readonly #errors: GlobalErrors;
  readonly #counters: Counters;
  readonly #maxLog2Size: number;
  readonly #executor: CommandExecutor;
  readonly #words = new Uint32Array(COMMAND_SIZE / 4);

  constructor(
    memory: PhysicalMemory,
    file: RegisterFile,
    errors: GlobalErrors,
    counters: Counters,
    maxLog2Size: number,
    executor: CommandExecutor,
  ) {
    this.#memory = memory;
    this.#registers = file;
    this.#errors = errors;
    this.#counters = counters;
    this.#maxLog2Size = maxLog2Size;
    this.#executor = executor;
  }

  /** Consumes what there is, as far as the queue is enabled and without an error. */
  consume(): void {
    // An interrupt on the way may make software submit more, which calls this again: every step leaves the registers in order.
    while (this.#consumeOne());
  }

  #consumeOne(): boolean {
    if (this.#registers.field(registers.CR0, "CMDQEN") === 0 || this.#errors.isActive("CMDQ_ERR")) return false;
    const log2Size = Math.min(this.#registers.field(registers.CMDQ_BASE, "LOG2SIZE"), this.#maxLog2Size);
    const consumer = positionOf(this.#registers.field(registers.CMDQ_CONS, "RD"), log2Size);
    const producer = positionOf(this.#registers.field(registers.CMDQ_PROD, "WR"), log2Size);
    if (consumer === producer) return false;
    const address = this.#registers.field(registers.CMDQ_BASE, "ADDR");
    const base = address - (address % Math.max(32, COMMAND_SIZE * 2 ** log2Size));
    if (!this.#fetch(base + positionIndex(consumer, log2Size) * COMMAND_SIZE))
      return this.#fail(consumer, commandErrors.CERROR_ABT);
    if (!this.#executor.execute(this.#words)) return this.#fail(consumer, commandErrors.CERROR_ILL);
    this.#counters.commands++;
    this.#setConsumer(nextPosition(consumer, log2Size), this.#registers.field(registers.CMDQ_CONS, "ERR"));
    this.#executor.consumed();
    return true;
  }

  #fetch(address: number): boolean {
    for (let i = 0; i < this.#words.length; i++) {
      const word = this.#memory.read32(address + i * 4);
      if (word === NO_ANSWER) return false;
      this.#words[i] = word;
    }
    return true;
  }

  /** The command stays where it is until software has acknowledged the error. */
  #fail(consumer: number, error: number): false {
    this.#setConsumer(consumer, error);
    this.#errors.activate("CMDQ_ERR");
    return false;
  }

  #setConsumer(position: number, error: number): void {
    const { RD, ERR } = registers.CMDQ_CONS.fields;
    this.#registers.set(registers.CMDQ_CONS.offset, (position << RD.low) | (error << ERR.low));
  }
}

import type { PhysicalMemory } from "../physical-memory.js";
import type { RegisterFile } from "./register-file.js";
import { registers } from "./registers.js";

/** The wires to the interrupt controller. */
export type SmmuInterrupt = "eventq" | "cmdq-sync" | "gerror";

/** Raises the SMMU's interrupts: an edge on a wire and, where the registers have an address for it, a message (Arm IHI 0070, 3.18). */
export class Interrupts {
  readonly #memory: PhysicalMemory;
  readonly #registers: RegisterFile;
  readonly #hasMessages: boolean;
  readonly #wire: (line: SmmuInterrupt) => void;

  constructor(memory: PhysicalMemory, file: RegisterFile, hasMessages: boolean, wire: (line: SmmuInterrupt) => void) {
    this.#memory = memory;
    this.#registers = file;
    this.#hasMessages = hasMessages;
    this.#wire = wire;
  }

  /** The event queue is not empty any more. @returns false when its message was aborted */
  eventQueue(): boolean {
    if (this.#registers.field(registers.IRQ_CTRL, "EVENTQ_IRQEN") === 0) return true;
    const address = this.#registers.field(registers.EVENTQ_IRQ_CFG0, "ADDR");
    return this.raise("eventq", address, this.#registers.field(registers.EVENTQ_IRQ_CFG1, "DATA"));
  }

  /** An error became active. @returns false when its message was aborted */
  globalError(): boolean {
    if (this.#registers.field(registers.IRQ_CTRL, "GERROR_IRQEN") === 0) return true;
    const address = this.#registers.field(registers.GERROR_IRQ_CFG0, "ADDR");
    return this.raise("gerror", address, this.#registers.field(registers.GERROR_IRQ_CFG1, "DATA"));
  }

  /** @param address where the message goes; 0 for none. @returns false when the message was aborted */
  raise(line: SmmuInterrupt, address: number, data: number): boolean {
    const isSent = !this.#hasMessages || address === 0 || this.#memory.write32(address, data);
    this.#wire(line);
    return isSent;
  }
}

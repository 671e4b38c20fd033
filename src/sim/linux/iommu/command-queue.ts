import { COMMAND_SIZE, commands, syncSignals } from "../../hw/smmu/commands.js";
import { shareabilities } from "../../hw/smmu/context-descriptor.js";
import { registers } from "../../hw/smmu/registers.js";
import type { SmmuV3 } from "../../hw/smmu/smmu.js";
import type { CoherentMemory, SharedMemory } from "./coherent-memory.js";
import { type CommandWords, commandWords } from "./command-words.js";

/** Commands that go to the SMMU together (arm-smmu-v3.h, CMDQ_BATCH_ENTRIES). */
const BATCH = 64;
const WORDS = COMMAND_SIZE / 4;
const READ_POINTER = 2 ** registers.CMDQ_CONS.fields.RD.width - 1;
/** Outer and inner write-back, in the words of MAIR's halves (arm-smmu-v3.h, ARM_SMMU_MEMATTR_OIWB). */
const WRITE_BACK = 0xf;

/** CMD_SYNC as Linux writes it where the SMMU does not signal by memory writes. */
export const SYNC: CommandWords = commandWords(
  commands.SYNC.encode({ CS: syncSignals.SEV, MSH: shareabilities.INNER, MSIAttr: WRITE_BACK }),
);

/** The kernel's end of a command queue (arm-smmu-v3.c, arm_smmu_cmdq_issue_cmdlist; one processor, so no locks). */
export class CommandQueue {
  readonly #hardware: SmmuV3;
  readonly #log2Size: number;
  readonly #memory: SharedMemory;
  /** Index and wrap bit of where the next command goes. */
  #prod = 0;

  /** Refuses with ENOMEM. */
  constructor(hardware: SmmuV3, memory: CoherentMemory, log2Size: number) {
    this.#hardware = hardware;
    this.#log2Size = log2Size;
    this.#memory = memory.allocate(2 ** log2Size * COMMAND_SIZE);
  }

  /** Tells the SMMU where the queue is. The SMMU must not be reading commands. */
  install(): void {
    const base = registers.CMDQ_BASE.encode({ ADDR: this.#memory.address, LOG2SIZE: this.#log2Size, RA: 1 });
    this.#hardware.write64(registers.CMDQ_BASE.offset, base);
    this.#hardware.write32(registers.CMDQ_PROD.offset, this.#prod);
    this.#hardware.write32(registers.CMDQ_CONS.offset, this.#prod);
  }

  /** Gives a command and does not wait for it. */
  issue(command: CommandWords): void {
    this.#waitForRoom(1);
    this.#put(command);
    this.#publish();
  }

  /** Gives commands. When it returns, the SMMU has carried them out. */
  issueAndSync(list: readonly CommandWords[]): void {
    for (let first = 0; first < list.length; first += BATCH) {
      const batch = list.slice(first, first + BATCH);
      const isLast = first + BATCH >= list.length;
      this.#waitForRoom(batch.length + 1);
      for (const command of batch) this.#put(command);
      if (isLast) this.#put(SYNC);
      this.#publish();
    }
    if (this.#cons !== this.#prod) throw stuck("CMD_SYNC timeout");
  }

  /** The words of the command that the SMMU could not carry out, and what to put in its place. */
  replaceFailed(replacement: CommandWords): readonly bigint[] {
    const slot = this.#slot(this.#cons);
    const failed = Array.from(this.#memory.words.subarray(2 * slot, 2 * slot + 2));
    this.#memory.halves.set(replacement, WORDS * slot);
    return failed;
  }

  get #cons(): number {
    return this.#hardware.read32(registers.CMDQ_CONS.offset) & READ_POINTER;
  }

  #put(command: CommandWords): void {
    this.#memory.halves.set(command, WORDS * this.#slot(this.#prod));
    this.#prod = (this.#prod + 1) % 2 ** (this.#log2Size + 1);
  }

  #publish(): void {
    this.#hardware.write32(registers.CMDQ_PROD.offset, this.#prod);
  }

  #waitForRoom(count: number): void {
    const size = 2 ** this.#log2Size;
    const taken = (this.#prod - this.#cons + 2 * size) % (2 * size);
    if (size - taken < count) throw stuck("CMDQ timeout");
  }

  #slot(pointer: number): number {
    return pointer % 2 ** this.#log2Size;
  }
}

/** Linux logs this once a second and goes on waiting. */
function stuck(what: string): Error {
  return new Error(`${what}: the SMMU no longer reads commands, and the kernel would wait for ever`);
}

import type { Interrupts } from "./interrupts.js";
import type { RegisterFile } from "./register-file.js";
import { registers } from "./registers.js";

const { fields } = registers.GERROR;

/** A name of an error in GERROR. */
export type GlobalErrorName = keyof typeof fields;

/** GERROR and GERRORN: an error is active where the two differ, until software makes them equal again (Arm IHI 0070, 7.5). */
export class GlobalErrors {
  readonly #registers: RegisterFile;
  readonly #interrupts: Interrupts;

  constructor(file: RegisterFile, interrupts: Interrupts) {
    this.#registers = file;
    this.#interrupts = interrupts;
  }

  isActive(name: GlobalErrorName): boolean {
    const { GERROR, GERRORN } = registers;
    const active = this.#registers.get(GERROR.offset) ^ this.#registers.get(GERRORN.offset);
    return (active & (1 << fields[name].low)) !== 0;
  }

  /** Makes an error active; one that is active already stays so. */
  activate(name: GlobalErrorName): void {
    if (this.isActive(name)) return;
    const { offset } = registers.GERROR;
    this.#registers.set(offset, this.#registers.get(offset) ^ (1 << fields[name].low));
    if (!this.#interrupts.globalError()) this.activate("MSI_GERROR_ABT_ERR");
  }
}

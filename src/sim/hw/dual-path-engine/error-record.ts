import type { Failure } from "./descriptor.js";
import { causeMask, errorCauses, registers } from "./registers.js";

const { FUNCTION, PORT, INDEX } = registers.ERROR_STATUS.fields;
const CAUSES = errorCauses.reduce((mask, cause) => mask | causeMask(cause), 0);

/** ERROR_STATUS and ERROR_ADDRESS: all causes since they were cleared, and the facts of the first. */
export class ErrorRecord {
  #causes = 0;
  #facts = 0;
  #address = 0n;

  /** Whether a cause is there, which halts the engine. */
  get halts(): boolean {
    return this.#causes !== 0;
  }

  get status(): number {
    return (this.#causes | this.#facts) >>> 0;
  }

  get address(): bigint {
    return this.#address;
  }

  /** @param index the descriptor's */
  add({ cause, address, via }: Failure, index: number): void {
    if (!this.halts) {
      const where = via === undefined ? 0 : 1 << (via === 0 ? FUNCTION : PORT).bit;
      this.#facts = where | (index << INDEX.bit);
      this.#address = address;
    }
    this.#causes |= causeMask(cause);
  }

  /** Clears causes; with the last one everything. */
  clear(bits: number): void {
    this.#causes &= ~(bits & CAUSES);
    if (this.halts) return;
    this.#facts = 0;
    this.#address = 0n;
  }
}

import { IospanError } from "../errors.js";

/**
 * Orders the operations of a space: mapping and unmapping may overlap each other, attaching, detaching and closing run
 * alone. Waiting operations start in the order they came.
 */
export class OperationGate {
  #running = 0;
  #alone = false;
  readonly #waiting: { readonly alone: boolean; readonly start: () => void }[] = [];

  /** Nothing is running and nothing waits. */
  get idle(): boolean {
    return this.#running === 0 && this.#waiting.length === 0;
  }

  /** Something runs that must be alone: a synchronous operation cannot run now. */
  get occupied(): boolean {
    return this.#alone;
  }

  async shared<T>(operation: () => Promise<T>): Promise<T> {
    return this.#run(false, operation);
  }

  async alone<T>(operation: () => Promise<T>): Promise<T> {
    return this.#run(true, operation);
  }

  /**
   * Runs a synchronous operation that may overlap shared ones.
   * @throws IospanError `ERR_IOSPAN_BUSY` while one runs that must be alone: a synchronous call cannot wait for it.
   */
  now<T>(what: string, operation: () => T): T {
    if (this.#alone) {
      throw new IospanError("ERR_IOSPAN_BUSY", `${what} while the space attaches, detaches or closes`, {
        hint: "await attach(), detach() or close() first",
      });
    }
    return operation();
  }

  async #run<T>(alone: boolean, operation: () => Promise<T>): Promise<T> {
    if (!this.#admits(alone) || this.#waiting.length > 0) {
      await new Promise<void>((start) => this.#waiting.push({ alone, start }));
    } else {
      this.#enter(alone);
    }
    try {
      return await operation();
    } finally {
      this.#leave();
    }
  }

  #admits(alone: boolean): boolean {
    return this.#running === 0 || (!alone && !this.#alone);
  }

  #enter(alone: boolean): void {
    this.#running += 1;
    this.#alone = alone;
  }

  #leave(): void {
    this.#running -= 1;
    if (this.#running === 0) this.#alone = false;
    for (let next = this.#waiting[0]; next !== undefined && this.#admits(next.alone); next = this.#waiting[0]) {
      this.#waiting.shift();
      this.#enter(next.alone);
      next.start();
    }
  }
}

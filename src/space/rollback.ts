import { IospanError } from "../errors.js";

/**
 * The way back out of an operation of several steps. Each step that was done says how to undo it; when a later one fails,
 * they are undone in reverse order.
 */
export class Rollback {
  readonly #undo: (() => void)[] = [];

  /** Registers how to undo a step that has just been done. */
  did(undo: () => void): void {
    this.#undo.push(undo);
  }

  /**
   * Undoes everything. A step that cannot be undone does not keep the others from being undone.
   * @returns what could not be undone.
   */
  run(): readonly unknown[] {
    const failures: unknown[] = [];
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) {
      try {
        undo();
      } catch (error) {
        failures.push(error);
      }
    }
    return failures;
  }
}

/** What is thrown when an operation failed AND could not be undone. */
export function inconsistent(what: string, reason: unknown, failures: readonly unknown[]): IospanError {
  const text = (error: unknown) => (error instanceof Error ? error.message : String(error));
  return new IospanError(
    "ERR_IOSPAN_INCONSISTENT",
    `${what} failed (${text(reason)}) and could not be undone (${failures.map(text).join("; ")})`,
    {
      hint: "the IOMMUs may disagree now: close the space, which releases everything, and open it again",
      cause: new AggregateError([reason, ...failures], what),
    },
  );
}

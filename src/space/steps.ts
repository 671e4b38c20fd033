/** One step of an operation, which can be done at once or off the event loop. */
export interface Step {
  now(): void;
  later(): Promise<void>;
}

/**
 * An operation of several steps, written once for both ways: it yields its steps one after the other, and what a step
 * throws is thrown at that yield. Undoing is its own business.
 */
export type Steps<Result> = Generator<Step, Result, void>;

/** Performs the operation synchronously. */
export function runNow<Result>(steps: Steps<Result>): Result {
  let turn = steps.next();
  while (!turn.done) {
    try {
      turn.value.now();
    } catch (error) {
      turn = steps.throw(error);
      continue;
    }
    turn = steps.next();
  }
  return turn.value;
}

/** Performs the operation with its steps off the event loop. */
export async function runLater<Result>(steps: Steps<Result>): Promise<Result> {
  let turn = steps.next();
  while (!turn.done) {
    try {
      await turn.value.later();
    } catch (error) {
      turn = steps.throw(error);
      continue;
    }
    turn = steps.next();
  }
  return turn.value;
}

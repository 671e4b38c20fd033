/** One step of an operation that can be done at once or off the event loop; both give a number. */
export interface Step {
  now(): number;
  later(): Promise<number>;
}

/**
 * An operation of several steps, written once for both ways: it yields its steps and gets their results, or what they
 * threw. Undoing is its own business.
 */
export type Steps<Result> = Generator<Step, Result, number>;

/** Performs the operation synchronously. */
export function runNow<Result>(steps: Steps<Result>): Result {
  let turn = steps.next(0);
  while (!turn.done) {
    let value: number;
    try {
      value = turn.value.now();
    } catch (error) {
      turn = steps.throw(error);
      continue;
    }
    turn = steps.next(value);
  }
  return turn.value;
}

/** Performs the operation with its steps off the event loop, one after the other. */
export async function runLater<Result>(steps: Steps<Result>): Promise<Result> {
  let turn = steps.next(0);
  while (!turn.done) {
    let value: number;
    try {
      value = await turn.value.later();
    } catch (error) {
      turn = steps.throw(error);
      continue;
    }
    turn = steps.next(value);
  }
  return turn.value;
}

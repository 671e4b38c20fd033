import { describe, expect, it } from "vitest";
import { runLater, runNow, type Step, type Steps } from "../../src/space/steps.js";
import { rejectionOf, thrownBy } from "../support/errors.js";

/** Step `index` of a test, which tells how it was performed; `fails` makes it fail both ways. */
function step(log: string[], index: number, fails?: Error): Step {
  return {
    now: () => {
      log.push(`now ${index}`);
      if (fails !== undefined) throw fails;
    },
    later: async () => {
      log.push(`begun ${index}`);
      await Promise.resolve();
      log.push(`later ${index}`);
      if (fails !== undefined) throw fails;
    },
  };
}

const modes = [
  ["at once", async <R>(steps: Steps<R>) => runNow(steps)],
  ["off the event loop", <R>(steps: Steps<R>) => runLater(steps)],
] as const;

describe.each(modes)("an operation performed %s", (_, perform) => {
  const done = (log: readonly string[]) => log.filter((line) => !line.startsWith("begun")).map((line) => line.at(-1));

  it("performs its steps one after the other, each in full, and returns the result", async () => {
    const log: string[] = [];
    function* steps(): Steps<string> {
      yield step(log, 1);
      log.push("between 5");
      yield step(log, 2);
      return "result";
    }
    expect(await perform(steps())).toBe("result");
    expect(done(log)).toEqual(["1", "5", "2"]);
  });

  it("may have no steps", async () => {
    // biome-ignore lint/correctness/useYield: that is the case
    function* steps(): Steps<number> {
      return 4;
    }
    expect(await perform(steps())).toBe(4);
  });

  it("throws a step's failure where it yielded, and nothing after it is performed", async () => {
    const log: string[] = [];
    const failure = new Error("step 2");
    function* steps(): Steps<void> {
      yield step(log, 1);
      try {
        yield step(log, 2, failure);
      } finally {
        log.push("undone 7");
      }
      yield step(log, 3);
    }
    expect(await rejectionOf(perform(steps()))).toBe(failure);
    expect(done(log)).toEqual(["1", "2", "7"]);
  });

  it("goes on with further steps when the operation handles a failure", async () => {
    const log: string[] = [];
    function* steps(): Steps<string> {
      try {
        yield step(log, 1, new Error("handled"));
      } catch {
        yield step(log, 2);
      }
      yield step(log, 3);
      return "recovered";
    }
    expect(await perform(steps())).toBe("recovered");
    expect(done(log)).toEqual(["1", "2", "3"]);
  });

  it("may end by handling a failure", async () => {
    function* steps(): Steps<string> {
      try {
        yield step([], 1, new Error("handled"));
        return "unreached";
      } catch {
        return "ended";
      }
    }
    expect(await perform(steps())).toBe("ended");
  });

  it("passes on what the operation itself throws between steps", async () => {
    const bug = new RangeError("between");
    function* steps(): Steps<void> {
      yield step([], 1);
      throw bug;
    }
    expect(await rejectionOf(perform(steps()))).toBe(bug);
  });
});

describe("runLater", () => {
  it("waits for each step before it begins the next", async () => {
    const log: string[] = [];
    function* steps(): Steps<void> {
      yield step(log, 1);
      yield step(log, 2);
    }
    await runLater(steps());
    expect(log).toEqual(["begun 1", "later 1", "begun 2", "later 2"]);
  });

  it("hands a step that throws before it returns a promise to the operation too", async () => {
    const early = new Error("early");
    const seen: unknown[] = [];
    function* steps(): Steps<void> {
      try {
        yield {
          now: () => {},
          later: () => {
            throw early;
          },
        };
      } catch (error) {
        seen.push(error);
      }
    }
    await runLater(steps());
    expect(seen).toEqual([early]);
  });
});

describe("runNow", () => {
  it("leaves nothing for later", () => {
    const log: string[] = [];
    function* steps(): Steps<void> {
      yield step(log, 1);
      yield step(log, 2, new Error("2"));
    }
    expect(thrownBy(() => runNow(steps()))).toEqual(new Error("2"));
    expect(log).toEqual(["now 1", "now 2"]);
  });
});

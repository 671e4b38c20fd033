import { it } from "vitest";
import type { Rig, Scenario } from "./rig.js";

/** How scenarios are run. */
export interface RunOptions<R extends Rig> {
  /** Only asked whether a scenario says nothing on it, which changes nothing of it; one serves for many lists. */
  readonly asked?: R;
  /** Several at a time, which takes less where they wait: they have nothing in common. */
  readonly concurrent?: boolean;
}

/** A test for each scenario, on a rig of its own. */
export function runAll<R extends Rig>(
  list: readonly Scenario<R>[],
  makeRig: () => R,
  { asked = makeRig(), concurrent = false }: RunOptions<R> = {},
): void {
  const test = concurrent ? it.concurrent : it;
  for (const { name, run, skip } of list) {
    const reason = skip?.(asked);
    test(name, async (context) => {
      if (reason !== undefined) context.skip(reason);
      await run(makeRig());
    });
  }
}

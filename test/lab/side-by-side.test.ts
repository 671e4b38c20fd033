import { setTimeout } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sideBySide } from "../../lab/side-by-side.js";

describe("work side by side", () => {
  it("has results in order, and never more at a time than jobs", async () => {
    const waits = fc.array(fc.nat(3), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(waits, fc.integer({ min: 1, max: 5 }), async (items, jobs) => {
        let running = 0;
        let most = 0;
        const results = await sideBySide(items, jobs, async (wait) => {
          running += 1;
          most = Math.max(most, running);
          await setTimeout(wait);
          running -= 1;
          return wait * 2;
        });
        expect(results).toEqual(items.map((wait) => wait * 2));
        expect(most).toBe(Math.min(jobs, items.length));
      }),
      { numRuns: 25 },
    );
  });

  it("starts nothing more after a failure, and waits for what runs", async () => {
    const started: number[] = [];
    const ended: number[] = [];
    const work = async (item: number) => {
      started.push(item);
      await setTimeout(item === 0 ? 1 : 10);
      if (item === 0) throw new Error("the first");
      ended.push(item);
    };
    await expect(sideBySide([0, 1, 2, 3], 2, work)).rejects.toThrow("the first");
    expect(started).toEqual([0, 1]);
    expect(ended).toEqual([1]);
  });
});

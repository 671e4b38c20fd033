import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IospanError } from "../../src/errors.js";
import { mapEverywhere, type Reach, unmapEverywhere } from "../../src/space/map-everywhere.js";
import { runLater, runNow, type Steps } from "../../src/space/steps.js";
import { errorFrom, rejectionOf } from "../support/errors.js";
import { FakeTarget, type Fate, fates } from "../support/fake-target.js";
import { record } from "../support/records.js";

const mapping = record(0x10000, 0x4000, { address: 0x7000n });
const SIZES = [0x4000] as const;

const modes = [
  ["at once", async <R>(steps: Steps<R>) => runNow(steps)],
  ["off the event loop", <R>(steps: Steps<R>) => runLater(steps)],
] as const;

function targets(count: number) {
  const log: string[] = [];
  const list = Array.from({ length: count }, (_, index) => new FakeTarget(`smmu${index}`, log));
  const reaches: Reach[] = list.map((target) => ({ target, access: "read-write" as const }));
  return { list, reaches, log };
}

/** The sizes of what each target has at the mapping's IOVA. */
function mapped(list: readonly FakeTarget[]): (number | undefined)[] {
  return list.map(({ entries }) => entries.get(mapping.iova)?.size);
}

function decideBy(list: readonly FakeTarget[], plan: readonly Fate[]): void {
  const fate = fates(plan);
  for (const target of list) target.fate = fate;
}

/** `Result` or what was thrown. */
async function outcome<R>(running: Promise<R>): Promise<{ value: R } | { error: unknown }> {
  try {
    return { value: await running };
  } catch (error) {
    return { error };
  }
}

const isInconsistent = (error: unknown) => error instanceof IospanError && error.code === "ERR_IOSPAN_INCONSISTENT";
const all = (list: readonly FakeTarget[], size: number | undefined) => list.map(() => size);

describe.each(modes)("mapping everywhere %s", (_, perform) => {
  it("reaches every target, each with its own access", async () => {
    const { list, reaches } = targets(2);
    const [first, second] = reaches as [Reach, Reach];
    await perform(mapEverywhere(mapping, [first, { ...second, access: "read" }]));
    expect(mapped(list)).toEqual([...SIZES, ...SIZES]);
    expect(list.map(({ entries }) => entries.get(mapping.iova)?.access)).toEqual(["read-write", "read"]);
    expect(list[0]?.entries.get(mapping.iova)?.address).toBe(0x7000n);
  });

  it("undoes in reverse order, and passes on the target's own refusal", async () => {
    const { list, reaches, log } = targets(3);
    decideBy(list, ["works", "works", "fail"]);
    const error = await errorFrom(perform(mapEverywhere(mapping, reaches)));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_MAP_REFUSED", message: "smmu2 refuses: map" });
    expect(log).toEqual(["map smmu0", "map smmu1", "map smmu2", "unmap smmu1", "unmap smmu0"]);
    expect(mapped(list)).toEqual([undefined, undefined, undefined]);
  });

  it("says so when it cannot undo, and undoes the rest", async () => {
    const { list, reaches } = targets(3);
    decideBy(list, ["works", "works", "fail", "fail"]);
    const error = await errorFrom(perform(mapEverywhere(mapping, reaches)));
    expect(error.code).toBe("ERR_IOSPAN_INCONSISTENT");
    expect(error.message).toContain("0x10000");
    expect((error.cause as AggregateError).errors.map(String)).toEqual([
      expect.stringContaining("smmu2 refuses: map"),
      expect.stringContaining("smmu1 refuses: unmap"),
    ]);
    expect(mapped(list)).toEqual([undefined, ...SIZES, undefined]);
  });

  it("leaves every target the same or says that they may not be, whatever fails", async () => {
    const plans = fc.array(fc.constantFrom<Fate>("works", "works", "fail", "lost", "stuck"), { maxLength: 9 });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), plans, async (count, plan) => {
        const { list, reaches, log } = targets(count);
        decideBy(list, plan);
        const result = await outcome(perform(mapEverywhere(mapping, reaches)));
        const used = plan.slice(0, log.length);
        if ("value" in result) expect(mapped(list)).toEqual(all(list, mapping.size));
        else if (!isInconsistent(result.error)) expect(mapped(list)).toEqual(all(list, undefined));
        // It cries wolf only when a way back was not as it should be.
        else expect(used.filter((fate) => fate !== "works").length).toBeGreaterThan(1);
        if (used.every((fate) => fate === "works")) expect("value" in result).toBe(true);
      }),
    );
  });
});

describe.each(modes)("unmapping everywhere %s", (_, perform) => {
  async function everywhere(count: number) {
    const made = targets(count);
    await perform(mapEverywhere(mapping, made.reaches));
    made.log.length = 0;
    return made;
  }

  it("leaves it nowhere, and finds nothing short", async () => {
    const { list, reaches, log } = await everywhere(3);
    expect(await perform(unmapEverywhere(mapping, reaches))).toEqual([]);
    expect(mapped(list)).toEqual([undefined, undefined, undefined]);
    expect(log).toEqual(["unmap smmu0", "unmap smmu1", "unmap smmu2"]);
  });

  it("maps it again, with the access it had, when a target refuses", async () => {
    const { list, reaches, log } = targets(2);
    const differing = reaches.map((reach, index) => ({
      ...reach,
      access: (["read", "write"] as const)[index] ?? "read",
    }));
    await perform(mapEverywhere(mapping, differing));
    log.length = 0;
    decideBy(list, ["works", "fail"]);
    const error = await errorFrom(perform(unmapEverywhere(mapping, differing)));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_UNMAP_REFUSED", message: "smmu1 refuses: unmap" });
    expect(list.map(({ entries }) => entries.get(mapping.iova)?.access)).toEqual(["read", "write"]);
    expect(log).toEqual(["unmap smmu0", "unmap smmu1", "map smmu0"]);
  });

  it("says so when it cannot map it again", async () => {
    const { list, reaches } = await everywhere(2);
    decideBy(list, ["works", "fail", "fail"]);
    const error = await errorFrom(perform(unmapEverywhere(mapping, reaches)));
    expect(error.code).toBe("ERR_IOSPAN_INCONSISTENT");
    expect(error.message).toContain("unmapping 0x10000");
    expect(mapped(list)).toEqual([undefined, ...SIZES]);
  });

  it("goes on when a target had less, and tells which", async () => {
    const { list, reaches } = await everywhere(3);
    decideBy(list, ["works", "lost"]);
    const short = await perform(unmapEverywhere(mapping, reaches));
    expect(short).toHaveLength(1);
    expect(short[0]).toMatchObject({ code: "ERR_IOSPAN_UNMAP_SHORT", iommu: "smmu1" });
    expect(short[0]?.message).toContain("8192 of 16384 bytes");
    expect(mapped(list)).toEqual([undefined, undefined, undefined]);
  });

  it("does not take a range for free that a target still translates", async () => {
    const { list, reaches } = await everywhere(2);
    decideBy(list, ["stuck"]);
    const error = await errorFrom(perform(unmapEverywhere(mapping, reaches)));
    expect(error.code).toBe("ERR_IOSPAN_INCONSISTENT");
    expect(error.message).toContain("8192 of 16384 bytes");
    expect(list[1]?.entries.size).toBe(1);
  });

  it("does not take a range for free when the kernel does not answer whether it is", async () => {
    const { list, reaches } = await everywhere(2);
    const [first] = list as [FakeTarget];
    decideBy(list, ["lost"]);
    const silent = new Error("no answer");
    first.isMapped = () => {
      throw silent;
    };
    expect(await rejectionOf(perform(unmapEverywhere(mapping, reaches)))).toBe(silent);
    expect(mapped(list)).toEqual([...SIZES, ...SIZES]); // mapped anew where it had gone
  });

  it("leaves every target the same or says that they may not be, whatever fails", async () => {
    const plans = fc.array(fc.constantFrom<Fate>("works", "works", "fail", "lost", "stuck"), { maxLength: 9 });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), plans, async (count, plan) => {
        const { list, reaches, log } = await everywhere(count);
        decideBy(list, plan);
        const result = await outcome(perform(unmapEverywhere(mapping, reaches)));
        const used = plan.slice(0, log.length);
        if ("value" in result) {
          expect(mapped(list)).toEqual(all(list, undefined));
          expect(result.value).toHaveLength(used.filter((fate) => fate === "lost").length);
        } else if (!isInconsistent(result.error)) expect(mapped(list)).toEqual(all(list, mapping.size));
        else expect(used.some((fate, call) => fate === "stuck" || (fate === "fail" && call > 0))).toBe(true);
      }),
    );
  });
});

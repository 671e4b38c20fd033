import type { StrategyName } from "iospan";
import { describe, expect, it } from "vitest";
import type { MachineOneOptions } from "../../src/sim/linux/machine-one.js";
import { accounting } from "./accounting.js";
import type { Rig } from "./rig.js";
import { simulatedRig } from "./simulated-rig.js";

const MIB = 2 ** 20;

/** What the scenarios measured on a rig; they throw where it is not what it should be. */
async function measured(rig: () => Rig): Promise<string> {
  const told: unknown[] = [];
  for (const { run } of accounting) told.push(await run(rig()));
  return told.filter((each) => typeof each === "string").join();
}

describe("what a page counts", () => {
  it("is told in a sentence", async () => {
    expect(await measured(() => simulatedRig("mirrored"))).toBe("64 MiB pinned 2x: VmLck +131072 kB, VmPin +0 kB");
  });

  it.each([
    ["mirrored", 128, 127],
    ["shared-container", 64, 63],
    ["iommufd", 64, 63],
  ] as const)(
    "is what the limit has to have room for, with the strategy %s: %d MiB",
    async (strategy, enough, less) => {
      const limited = (mib: number, name: StrategyName = strategy) => {
        const options: MachineOneOptions = { capabilities: [], memlock: mib * MIB };
        return measured(() => simulatedRig(name, options));
      };
      expect(await limited(enough)).toContain("64 MiB pinned");
      await expect(limited(less)).rejects.toMatchObject({ code: "ERR_IOSPAN_MEMLOCK" });
    },
  );
});

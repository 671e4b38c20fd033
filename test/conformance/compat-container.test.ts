import { IoAddressSpace, simulate } from "iospan";
import { describe, expect, it } from "vitest";
import { chipSource } from "../sim/chip/board.js";
import { consistent } from "./expect.js";
import { platform } from "./platform.js";
import { runAll } from "./run-all.js";
import { scenarios } from "./scenarios.js";
import { platformRig, simulatedRig } from "./simulated-rig.js";

/** What the container is, and what is to work all the same. A link differs in whom memory is counted for. */
const cases = [
  { container: "iommufd", strategy: "mirrored", depth: "full" },
  { container: "iommufd", strategy: "shared-container", depth: "quick" },
  { container: "iommufd-link", strategy: "mirrored", depth: "quick" },
] as const;

describe.each(cases)("with the strategy $strategy where the container is $container", (each) => {
  const { container, strategy, depth } = each;
  for (const [subject, list] of Object.entries(scenarios)) {
    describe(subject, () => runAll(list, () => ({ ...simulatedRig(strategy, { container }), depth })));
  }
  describe("platform", () => runAll(platform, () => platformRig(strategy, { container })));
});

describe("a kernel that has nothing but iommufd's container", () => {
  it("gets a space without being asked for any strategy, on all interfaces of a device", async () => {
    const options = { drivers: "vfio", container: "iommufd", vfioCdev: false } as const;
    const machine = simulate(chipSource("dual-smmu"), options);
    const names = machine.interfaces.map(({ name }) => name);
    await using space = await IoAddressSpace.open(machine, names);
    expect(space.strategy).toBe("shared-container");
    using _buffer = space.allocate(2 ** 20);
    consistent(space, 1);
    const [iommufd] = machine.iommufds;
    expect(iommufd?.ioases.flatMap(({ hwpts }) => hwpts.map(({ iommu }) => iommu)).sort()).toEqual(
      machine.smmus.map(({ name }) => name).sort(),
    );
  });
});

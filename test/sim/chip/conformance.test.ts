import { bindToVfio, type StrategyName, strategyNames } from "iospan";
import { describe, it } from "vitest";
import { simulate } from "../../../src/sim/simulate.js";
import { platform } from "../../conformance/platform.js";
import type { PlatformRig, Rig, Scenario } from "../../conformance/rig.js";
import { scenarios } from "../../conformance/scenarios.js";
import { chipSource, edited } from "./board.js";

/** The laboratory's machine as a device tree: what runs on real kernels runs here. */
function chipRig(strategy: StrategyName, chip = chipSource("two-pcie"), resetRequired = true): Rig {
  const machine = simulate(chip, {
    hugepages2M: 8,
    resetRequired,
    drivers: { edu0: "vfio-pci", edu1: "vfio-pci" },
  });
  bindToVfio(machine, "0000:01:00.0");
  return {
    machine,
    strategy,
    first: "0000:02:00.0",
    second: "0001:02:00.0",
    neighbour: "0000:01:00.0",
    stranger: "0001:01:00.0",
    depth: "quick",
    emulated: false,
    openFiles: () => machine.openFds.map(({ path }) => path).sort(),
  };
}

/** With an edu on the chip's own bus behind the second SMMU. */
function platformRig(strategy: StrategyName): PlatformRig {
  const port = `dma-port@9030000 { compatible = "iospan,edu";
    reg = <0 0x9030000 0 0x1000>, <0 0x9031000 0 0x800>, <0 0x9032000 0 0x1000>;
    interrupts = <0 112 4>, <0 113 1>; iommus = <&smmu1 0x10042>; msi-parent = <&its 0x20000>; };`;
  const chip = edited(
    chipSource("two-pcie"),
    ["\tpcie0: pcie", `${port} pcie0: pcie`],
    ["smmu1: iommu@c020000 {", "smmu1: iommu@c020000 { iospan,stream-id-bits = <17>;"],
  );
  const rig = chipRig(strategy, chip, false);
  bindToVfio(rig.machine, "9030000.dma-port");
  return { ...rig, port: "9030000.dma-port" };
}

function runAll<R extends Rig>(list: readonly Scenario<R>[], makeRig: () => R): void {
  for (const { name, run, skip } of list) {
    it(name, async (context) => {
      const rig = makeRig();
      const reason = skip?.(rig);
      if (reason !== undefined) context.skip(reason);
      await run(rig);
    });
  }
}

/** No device tree says that registers cannot be written, which that scenario wants to see. */
const withoutReadOnly = platform.filter(({ name }) => name !== "reads and writes the registers of a platform device");

describe.each(strategyNames)("with the strategy %s on a machine made of a device tree", (strategy) => {
  for (const [subject, list] of Object.entries(scenarios)) {
    describe(subject, () => runAll(list, () => chipRig(strategy)));
  }
  describe("platform", () => runAll(withoutReadOnly, () => platformRig(strategy)));
});

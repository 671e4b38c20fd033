import { bindToVfio, type StrategyName, strategyNames } from "iospan";
import { describe, it } from "vitest";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import type { Rig } from "./rig.js";
import { scenarios } from "./scenarios.js";

/** The laboratory's first machine, simulated: what lab/guest/prove.ts runs on real kernels runs here. */
function simulatedRig(strategy: StrategyName): Rig {
  const kernel = machineOne({ hugepages2M: 8 });
  const machine = { syscalls: kernel };
  bindToVfio(machine, "0000:01:00.0");
  return {
    machine,
    strategy,
    first: "0000:02:00.0",
    second: "0000:22:00.0",
    neighbour: "0000:01:00.0",
    stranger: "0000:21:00.0",
    depth: "full",
    openFiles: () => kernel.openFds.map(({ path }) => path).sort(),
  };
}

describe.each(strategyNames)("with the strategy %s on a simulated machine", (strategy) => {
  for (const [subject, list] of Object.entries(scenarios)) {
    describe(subject, () => {
      for (const { name, run, skip } of list) {
        it(name, async (context) => {
          const rig = simulatedRig(strategy);
          const reason = skip?.(rig);
          if (reason !== undefined) context.skip(reason);
          await run(rig);
        });
      }
    });
  }
});

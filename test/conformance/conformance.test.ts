import { strategyNames } from "iospan";
import { describe } from "vitest";
import { platform } from "./platform.js";
import { runAll } from "./run-all.js";
import { scenarios } from "./scenarios.js";
import { platformRig, simulatedRig } from "./simulated-rig.js";

describe.each(strategyNames)("with the strategy %s on a simulated machine", (strategy) => {
  const asked = simulatedRig(strategy);
  for (const [subject, list] of Object.entries(scenarios)) {
    describe(subject, () => runAll(list, () => simulatedRig(strategy), { asked }));
  }
  describe("platform", () => runAll(platform, () => platformRig(strategy)));
});

import { strategyNames } from "iospan";
import { describe } from "vitest";
import { platform } from "./platform.js";
import { scenarios } from "./scenarios.js";
import { platformRig, runAll, simulatedRig } from "./simulated-rig.js";

describe.each([...strategyNames, "single-domain"] as const)(
  "with the strategy %s on a simulated machine",
  (strategy) => {
    for (const [subject, list] of Object.entries(scenarios)) {
      describe(subject, () => runAll(list, () => simulatedRig(strategy)));
    }
    describe("platform", () => runAll(platform, () => platformRig(strategy)));
  },
);

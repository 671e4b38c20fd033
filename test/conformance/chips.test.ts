import { describe } from "vitest";
import { runOnChips } from "./chip-scenarios.js";
import { platform } from "./platform.js";
import { runAll } from "./run-all.js";
import { chipNames, chipPlatformRig, isUnequal } from "./simulated-chip.js";

// The chips as they are; varied-chips.test.ts has the unequal ones, and other kernels.

runOnChips(
  chipNames
    .filter((chip) => !isUnequal(chip))
    .map((chip) => ({
      name: `chips/${chip}.dts`,
      chip,
      // Else dual-smmu: the speed of memory makes a difference to the engine only.
      ...(chip === "dual-smmu-slow-memory" && { only: "iommufd" as const }),
    })),
);

describe.each([
  ...(["mirrored", "shared-container", "iommufd"] as const).map((strategy) => ["dual-smmu", strategy] as const),
  ["one-smmu", "single-domain"] as const,
])("a device on the own bus of chips/%s.dts, with the strategy %s", (chip, strategy) => {
  runAll(platform, () => chipPlatformRig(chip, strategy), { concurrent: true });
});

import { type SimulateOptions, type StrategyName, strategyNames } from "iospan";
import { describe, it } from "vitest";
import { platform } from "./platform.js";
import type { Rig, Scenario } from "./rig.js";
import { scenarios } from "./scenarios.js";
import { chipNames, chipPlatformRig, chipRig } from "./simulated-chip.js";

const KIB = 1024;

/** A chip, and a kernel on it. */
interface Variant {
  readonly name: string;
  readonly chip: string;
  readonly options?: SimulateOptions;
  /** Device tree source that is appended to the chip's. */
  readonly changes?: string;
  /** What the kernel does not make of the rig. */
  readonly rig?: Partial<Rig>;
  /** Strategies that the kernel refuses there: unequal-chips.test.ts shows how. */
  readonly refused?: readonly StrategyName[];
}

const UNEQUAL_GRANULES = "unequal-granules";

const variants: readonly Variant[] = [
  ...chipNames.map((chip) => ({
    name: `chips/${chip}.dts`,
    chip,
    ...(chip === UNEQUAL_GRANULES && { refused: ["shared-container", "iommufd"] as const }),
  })),
  {
    name: `chips/${UNEQUAL_GRANULES}.dts and a kernel with pages of 64 KiB`,
    chip: UNEQUAL_GRANULES,
    options: { pageSize: 64 * KIB },
    rig: { secondHasMsi: true },
  },
  {
    name: "chips/two-pcie.dts, one SMMU with stage 2 and one without range invalidation",
    chip: "two-pcie",
    changes: "&smmu0 { iospan,stage = <2>; }; &smmu1 { iospan,no-range-invalidation; };",
  },
  {
    name: "chips/two-pcie.dts with SMMUs and a kernel of 16 KiB",
    chip: "two-pcie",
    changes: "&smmu0 { iospan,granules-kib = <16>; }; &smmu1 { iospan,granules-kib = <16>; };",
    options: { pageSize: 16 * KIB },
    rig: { granule: 16 * KIB },
  },
];

const everyStrategy: readonly StrategyName[] = [...strategyNames, "single-domain"];

function runs({ chip, refused = [] }: Variant, strategy: StrategyName): boolean {
  // One domain for all is refused across SMMUs.
  if (strategy === "single-domain") return chip === "one-smmu";
  return !refused.includes(strategy);
}

function runAll<R extends Rig>(list: readonly Scenario<R>[], makeRig: () => R): void {
  for (const { name, run, skip } of list) {
    it.concurrent(name, async (context) => {
      const rig = makeRig();
      const reason = skip?.(rig);
      if (reason !== undefined) context.skip(reason);
      await run(rig);
    });
  }
}

describe.each(variants.map((variant) => [variant.name, variant] as const))("on %s", (_, variant) => {
  const { chip, options, changes, rig } = variant;
  describe.each(everyStrategy.filter((strategy) => runs(variant, strategy)))("with the strategy %s", (strategy) => {
    for (const [subject, list] of Object.entries(scenarios)) {
      describe(subject, () => runAll(list, () => ({ ...chipRig(chip, strategy, options, changes), ...rig })));
    }
  });
});

describe.each([
  ...(["mirrored", "shared-container", "iommufd"] as const).map((strategy) => ["dual-smmu", strategy] as const),
  ["one-smmu", "single-domain"] as const,
])("a device on the own bus of chips/%s.dts, with the strategy %s", (chip, strategy) => {
  runAll(platform, () => chipPlatformRig(chip, strategy));
});

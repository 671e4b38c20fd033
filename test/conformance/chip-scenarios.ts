import { type SimulateOptions, type StrategyName, strategyNames } from "iospan";
import { describe } from "vitest";
import type { Rig } from "./rig.js";
import { runAll } from "./run-all.js";
import { scenarios } from "./scenarios.js";
import { chipRig } from "./simulated-chip.js";

/** A chip, and a kernel on it. */
export interface Variant {
  readonly name: string;
  readonly chip: string;
  readonly options?: SimulateOptions;
  /** Device tree source that is appended to the chip's. */
  readonly changes?: string;
  /** What the kernel does not make of the rig. */
  readonly rig?: Partial<Rig>;
  /** It differs from another chip in what no strategy has to do with: this one is enough. */
  readonly only?: StrategyName;
  /** Strategies that the kernel refuses there: unequal-chips.test.ts shows how. */
  readonly refused?: readonly StrategyName[];
}

/** One of each mechanism: files that are opened and closed, registers, what is counted, do not tell its strategies apart. */
const ONE_PER_MECHANISM: readonly StrategyName[] = ["mirrored", "iommufd"];

/**
 * What a chip adds nothing to but other devices and addresses, so that one strategy per mechanism is enough: conformance.test.ts
 * runs them with every strategy.
 */
const OF_MECHANISMS: readonly string[] = ["many", "accounting", "device", "device life", "peer to peer", "closing"];

function runs({ chip, only, refused = [] }: Variant, strategy: StrategyName): boolean {
  if (only !== undefined) return strategy === only;
  // One domain for all is refused across SMMUs.
  if (strategy === "single-domain") return chip === "one-smmu";
  return !refused.includes(strategy);
}

/** Runs the scenarios on machines of chips, with all strategies that work there. */
export function runOnChips(variants: readonly Variant[]): void {
  describe.each(variants.map((variant) => [variant.name, variant] as const))("on %s", (_, variant) => {
    describe.each(strategyNames.filter((strategy) => runs(variant, strategy)))("with the strategy %s", (strategy) => {
      const makeRig = () => ({ ...chipRig(variant.chip, strategy, variant.options, variant.changes), ...variant.rig });
      const options = { asked: makeRig(), concurrent: true };
      for (const [subject, list] of Object.entries(scenarios)) {
        if (OF_MECHANISMS.includes(subject) && !ONE_PER_MECHANISM.includes(strategy)) continue;
        describe(subject, () => runAll(list, makeRig, options));
      }
    });
  });
}

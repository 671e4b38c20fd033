import type { Plan } from "../src/plan/plan.js";
import { Planner } from "../src/plan/planner.js";
import type { Topology, TopologyDevice } from "../src/topology/topology.js";
import type { Translation } from "./independent/translation.js";
import { type ExpectedStrategy, type ExpectedVerdict, expectedPlan, type Relation } from "./independent/verdict.js";

/** Two devices that are to share an address space. */
export type Pair = readonly [TopologyDevice, TopologyDevice];

/** A plan for two devices of a board. */
export interface PairPlan {
  readonly pair: Pair;
  readonly plan: Plan;
}

/** Plans for a machine of which only the device tree is known, each device with each other one. */
export function planPairs(topology: Topology): readonly PairPlan[] {
  const planner = new Planner({ topology, kernel: undefined });
  return pairs(topology.devices).map((pair) => ({ pair, plan: planner.plan(pair.map(({ path }) => path)) }));
}

function pairs(devices: readonly TopologyDevice[]): readonly Pair[] {
  return devices.flatMap((a, index) => devices.slice(index + 1).map((b) => [a, b] as const));
}

/** A plan, held to the computation beside it. */
export interface ComparedPlan {
  /** What the two devices have to do with each other, as the computation has it. */
  readonly relation: Relation;
  /** Both sides in words, where they differ. */
  readonly difference: string | undefined;
}

/** @param translations of the board, by path */
export function comparePlan({ pair, plan }: PairPlan, translations: ReadonlyMap<string, Translation>): ComparedPlan {
  const where = pair.map(({ path }) => path).join(" and ");
  const [a, b] = pair.map(({ path }) => translations.get(path));
  if (a === undefined || b === undefined) {
    return { relation: "unknown", difference: `${where}: planned, and unknown to the independent reading` };
  }
  const { relation, strategies } = expectedPlan(a, b);
  const planned = inWords(Object.fromEntries(plan.strategies.map(({ strategy, verdict }) => [strategy, verdict])));
  const expected = strategies && inWords(strategies);
  if (expected === undefined || planned === expected) return { relation, difference: undefined };
  return {
    relation,
    difference: `${where}: planned ${planned} (${plan.reason}), expected ${expected} (${relation})`,
  };
}

function inWords(verdicts: Readonly<Partial<Record<string, ExpectedVerdict>>>): string {
  const order: readonly ExpectedStrategy[] = ["mirrored", "shared-container", "iommufd", "single-domain"];
  return order.map((strategy) => `${strategy} ${verdicts[strategy] ?? "missing"}`).join(", ");
}

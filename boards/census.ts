import type { Topology } from "../src/topology/topology.js";
import { topologyOfDeviceTree } from "../src/topology/topology-of-device-tree.js";
import { topologyDifferences } from "./agreement.js";
import { readBoard } from "./board.js";
import { readFlatTree } from "./independent/flat-tree.js";
import { translations } from "./independent/translation.js";
import type { Relation } from "./independent/verdict.js";
import { comparePlan, type PairPlan, planPairs } from "./plans.js";
import { Tally } from "./totals/total.js";
import { TOTALS } from "./totals/totals.js";

/** All boards, one after the other: what was counted, what could not be read or planned, where two readings differ. */
export class Census {
  readonly tallies: readonly Tally[] = TOTALS.map((total) => new Tally(total));
  /** Boards that could not be read or planned. */
  readonly refused: string[] = [];
  readonly differences = { topology: [] as string[], plans: [] as string[] };
  /** Devices that were compared, and pairs of them that were planned, by what the two have to do with each other. */
  devices = 0;
  readonly plans = new Map<Relation, number>();
  /** Processor time of reading and planning alone, in seconds. */
  seconds = 0;

  add(name: string, bytes: Uint8Array): void {
    try {
      this.#count(name, bytes);
      this.#compare(name, bytes, ...this.#plan(name, bytes));
    } catch (error) {
      this.refused.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  #count(name: string, bytes: Uint8Array): void {
    const board = readBoard(name, bytes);
    for (const tally of this.tallies) tally.add(board);
  }

  #plan(name: string, bytes: Uint8Array): readonly [Topology, readonly PairPlan[]] {
    const start = process.cpuUsage();
    const topology = topologyOfDeviceTree(bytes, name);
    const plans = planPairs(topology);
    const { user, system } = process.cpuUsage(start);
    this.seconds += (user + system) / 1e6;
    return [topology, plans];
  }

  #compare(name: string, bytes: Uint8Array, topology: Topology, plans: readonly PairPlan[]): void {
    const others = translations(readFlatTree(bytes).root);
    this.devices += others.size;
    this.differences.topology.push(...topologyDifferences(topology, others).map((each) => `${name} ${each}`));
    for (const pairPlan of plans) {
      const { relation, difference } = comparePlan(pairPlan, others);
      this.plans.set(relation, (this.plans.get(relation) ?? 0) + 1);
      if (difference !== undefined) this.differences.plans.push(`${name} ${difference}`);
    }
  }
}

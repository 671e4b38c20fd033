import type { SmmuCounters } from "../../sim/hw/smmu/smmu.js";
import type { SimulatedMachine } from "../../sim/simulated-machine.js";
import { CallCounter } from "./call-counter.js";
import type { CostReport, SmmuCostReport } from "./result.js";

/** How an approach is carried out, seen while its mappings are there. */
export interface Footprint {
  readonly containers: number;
  readonly domains: number;
  readonly pinnedPages: number;
  readonly mappedBytes: number;
}

/** Where there is nothing. */
export const NO_FOOTPRINT: Footprint = { containers: 0, domains: 0, pinnedPages: 0, mappedBytes: 0 };

/** Looks at what is there now that so many bytes are mapped. A page table of an iommufd is a domain like those of a container. */
export function footprintOf({ containers, iommufds, pinnedPages }: SimulatedMachine, mappedBytes: number): Footprint {
  const ofContainers = containers.flatMap(({ type1 }) => type1?.domains ?? []);
  const ofIommufds = iommufds.flatMap(({ ioases }) => ioases.flatMap(({ hwpts }) => hwpts));
  return { containers: containers.length, domains: ofContainers.length + ofIommufds.length, pinnedPages, mappedBytes };
}

/** Counts what an approach takes, from now on. */
export class CostMeter {
  readonly calls = new CallCounter();
  readonly #machine: SimulatedMachine;
  readonly #before: ReadonlyMap<string, SmmuCounters>;

  constructor(machine: SimulatedMachine) {
    this.#machine = machine;
    this.#before = new Map(machine.smmus.map(({ name, counters }) => [name, { ...counters }]));
  }

  /** What it took until now. */
  read(): CostReport {
    const { systemCalls, mapCalls, sysfs } = this.calls;
    return { systemCalls, mapCalls, sysfs, smmus: this.#machine.smmus.map((smmu) => this.#since(smmu)) };
  }

  #since({ name, counters }: { readonly name: string; readonly counters: SmmuCounters }): SmmuCostReport {
    const before = this.#before.get(name);
    const since = (counter: keyof SmmuCounters) => counters[counter] - (before?.[counter] ?? 0);
    return {
      iommu: name,
      commands: since("commands"),
      invalidations: since("invalidations"),
      walks: since("walks"),
      hits: since("tlbHits"),
    };
  }
}

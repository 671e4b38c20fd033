import type { Machine, StrategyName } from "iospan";

/**
 * What the scenarios run on: a machine with two DMA engines behind different IOMMUs, all bound to VFIO. Real or
 * simulated makes no difference to a scenario.
 */
export interface Rig {
  readonly machine: Machine;
  readonly strategy: StrategyName;
  /** An `edu` device. */
  readonly first: string;
  /** An `edu` device behind another IOMMU. */
  readonly second: string;
  /** Any other device, behind the IOMMU of `first`. */
  readonly neighbour: string;
  /** A device that is not bound to VFIO. */
  readonly stranger: string;
  /** `quick`: fewer random operations and a shorter program under fault injection; the same checks. */
  readonly depth: "quick" | "full";
  /** What the process has open of VFIO, and eventfds: `/dev/vfio/7`, `anon_inode:[vfio-device]`, … */
  openFiles(): readonly string[];
}

/** One behaviour, told by its name. Throws where the machine behaves otherwise. */
export interface Scenario {
  readonly name: string;
  run(rig: Rig): Promise<void>;
  /** Why it says nothing on this rig; runs where undefined. */
  skip?(rig: Rig): string | undefined;
}

/** Collects the scenarios of a file. */
export function scenario(name: string, run: Scenario["run"], skip?: Scenario["skip"]): Scenario {
  return skip === undefined ? { name, run } : { name, run, skip };
}

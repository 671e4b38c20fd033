import type { ExplainedIovaRanges, ExplainedPageSizes } from "../space/iova-ranges.js";
import type { StrategyName } from "../space/strategies/strategy.js";

/** Every {@link Verdict}. */
export const verdicts = ["yes", "no", "unknown"] as const;

/** `unknown`: nobody tells; `reason` says what would. */
export type Verdict = (typeof verdicts)[number];

/** Whether and how devices can share one I/O address space. Undefined is what nobody tells. */
export interface Plan {
  readonly devices: readonly PlannedDevice[];
  /** Whether they can share one, by whatever strategy. */
  readonly verdict: Verdict;
  readonly reason: string;
  /** All of them, in the order in which `auto` tries; `single-domain` last. The verdicts count once {@link Plan.steps} are done. */
  readonly strategies: readonly StrategyPlan[];
  /** What `auto` will choose, as far as it can be told. */
  readonly recommended: StrategyName | undefined;
  /** What has to be done before, in order. */
  readonly steps: readonly PlanStep[];
  /** The other devices of the devices' groups, which go to VFIO together with them or stay without a driver. */
  readonly companions: readonly PlannedCompanion[];
  readonly iovaRanges: PlannedRanges;
  readonly pageSizes: PlannedPageSizes;
  readonly memory: MemoryForecast;
  readonly entries: EntryBudget;
  /** What firmware or the kernel holds in store that surprises. */
  readonly traps: readonly PlanTrap[];
}

/** A device that was named, and the IOMMU in front of it. */
export interface PlannedDevice {
  /** As it was asked for. */
  readonly asked: string;
  /** Its path in the topology. */
  readonly path: string;
  readonly name: string;
  readonly bus: string;
  readonly driver: string | null | undefined;
  readonly group: number | null | undefined;
  /** Names of the IOMMUs that translate for it; of most devices one. Empty for none. */
  readonly iommus: readonly string[];
  /** Whether VFIO can hand it out on this machine, whatever it shares with others. */
  readonly verdict: Verdict;
  readonly reason: string;
}

/** One strategy's chances. */
export interface StrategyPlan {
  readonly strategy: StrategyName;
  readonly verdict: Verdict;
  readonly reason: string;
  /** How many times each page is pinned, and counted; undefined where the verdict is no. */
  readonly timesPinned: number | undefined;
}

/** Something to be done, and how. */
export interface PlanStep {
  /** Stable, for programs: `bind`, `bind-companion`, `load-module`, `raise-memlock`, … */
  readonly id: string;
  readonly text: string;
  /** For a shell, as root. */
  readonly commands: readonly string[];
  /** {@link PlannedDevice.name}, where it is about one. */
  readonly device: string | undefined;
}

/** A device in the group of one that was named. */
export interface PlannedCompanion {
  readonly name: string;
  readonly group: number;
  readonly driver: string | null | undefined;
  /** Its driver leaves the group to VFIO (`pcieport`), or there is none. */
  readonly isHarmless: boolean;
}

/** Which IOVAs every IOMMU translates. */
export interface PlannedRanges {
  readonly known: ExplainedIovaRanges;
  /** Names of IOMMUs or groups whose part is not known, and not in `known`. */
  readonly unknown: readonly string[];
}

/** Which page sizes every IOMMU has. */
export interface PlannedPageSizes {
  readonly known: ExplainedPageSizes;
  readonly unknown: readonly string[];
  /** Bytes that mappings have to be a multiple of; undefined where an IOMMU's part is not known. */
  readonly granule: number | undefined;
}

/** What mapping memory costs of the limit on locked memory. */
export interface MemoryForecast {
  /** RLIMIT_MEMLOCK in bytes, `Infinity` for none. */
  readonly limit: number | undefined;
  /** The process is not held to it: CAP_IPC_LOCK. */
  readonly isExempt: boolean | undefined;
  /** By strategy whose verdict is not no: bytes counted for each GiB mapped, and the most that can be mapped. */
  readonly perStrategy: readonly {
    readonly strategy: StrategyName;
    readonly countedPerGiB: number;
    /**
     * Bytes; undefined where the limit is not known, `Infinity` where there is none. With an iommufd at most: it counts for the
     * user, so that what the user's other processes pin comes off (iommufd/pages.c, incr_user_locked_vm).
     */
    readonly most: number | undefined;
  }[];
}

/** How many mappings there can be. */
export interface EntryBudget {
  /** Of a container (`vfio_iommu_type1.dma_entry_limit`); an iommufd has none. */
  readonly perContainer: number | undefined;
  /** Bytes that so many mappings reach, if each is one page of the granule, of 2 MiB, of 1 GiB. */
  readonly reach: readonly { readonly pageSize: number; readonly bytes: number }[];
}

/** Something to beware of. */
export interface PlanTrap {
  /** Stable, for programs. */
  readonly id: string;
  readonly severity: "note" | "warning";
  readonly text: string;
  readonly device: string | undefined;
}

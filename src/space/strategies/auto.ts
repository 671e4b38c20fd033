import { IospanError } from "../../errors.js";
import type { Machine } from "../../machine/machine.js";
import type { Syscalls } from "../../syscalls/syscalls.js";
import { iommufd } from "./iommufd.js";
import { mirrored } from "./mirrored.js";
import { sharedContainer } from "./shared-container.js";
import { singleDomain } from "./single-domain.js";
import { type Strategy, type StrategyName, strategyNames } from "./strategy.js";

/**
 * What became of one strategy when a space was opened. Those before the chosen one were tried in vain, those after it were not
 * tried.
 */
export interface StrategyTrial {
  readonly strategy: StrategyName;
  readonly chosen: boolean;
  /** Why it was chosen or passed over. */
  readonly reason: string;
}

/** A strategy to try. */
export interface Candidate {
  readonly name: StrategyName;
  make(): Strategy;
  /** Why it is the one, if it works. */
  readonly reason: string;
  /** Those after it, which are not tried if it works. */
  readonly rest: readonly StrategyTrial[];
}

/** The order in which `auto` tries them: what pins memory once comes first, and before all what the kernel goes on to develop. */
const AUTO_ORDER = ["iommufd", "shared-container", "mirrored"] as const satisfies readonly StrategyName[];

const MAKE: Readonly<Record<StrategyName, (syscalls: Syscalls) => Strategy>> = {
  mirrored,
  "shared-container": sharedContainer,
  "single-domain": singleDomain,
  iommufd,
};

const VIRTUES: Readonly<Record<StrategyName, string>> = {
  mirrored: "works on every kernel, and pins memory once per IOMMU",
  "shared-container": "one container takes all groups, and pins memory once",
  "single-domain": "one page table for all devices, which are behind one IOMMU",
  iommufd: "one address space with a page table per IOMMU, and pins memory once",
};

/**
 * What to try, in order.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a strategy that does not exist.
 */
export function candidates(machine: Machine, wanted: StrategyName | "auto"): readonly Candidate[] {
  const { syscalls } = machine;
  if (wanted === "auto") {
    return AUTO_ORDER.map((name, index) => {
      const rest = AUTO_ORDER.slice(index + 1).map((other) => notTried(other, name));
      return { name, make: () => MAKE[name](syscalls), reason: VIRTUES[name], rest };
    });
  }
  if (!strategyNames.includes(wanted)) {
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `there is no strategy "${wanted}"`, {
      hint: `one of auto, ${strategyNames.join(", ")}`,
    });
  }
  return [{ name: wanted, make: () => MAKE[wanted](syscalls), reason: "asked for", rest: [] }];
}

function notTried(strategy: StrategyName, chosen: StrategyName): StrategyTrial {
  return { strategy, chosen: false, reason: `not tried: "${chosen}" comes first, and works` };
}

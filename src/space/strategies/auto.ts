import { IospanError } from "../../errors.js";
import type { Machine } from "../../machine/machine.js";
import type { Syscalls } from "../../syscalls/syscalls.js";
import { iommufd } from "./iommufd.js";
import { mirrored } from "./mirrored.js";
import { sharedContainer } from "./shared-container.js";
import { singleDomain } from "./single-domain.js";
import { iommufdStrategyNames, type Strategy, type StrategyName, strategyNames } from "./strategy.js";

/** What became of one strategy when a space was opened. */
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
  /** There is none after it. */
  readonly last: boolean;
}

/** The order in which `auto` tries them: what pins memory once comes first. */
const AUTO_ORDER = ["shared-container", "mirrored"] as const satisfies readonly StrategyName[];

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
  if (wanted === "auto")
    return AUTO_ORDER.map((name, index) => candidate(machine, name, index === AUTO_ORDER.length - 1));
  const known: readonly StrategyName[] = [...strategyNames, ...iommufdStrategyNames];
  if (!known.includes(wanted)) {
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `there is no strategy "${wanted}"`, {
      hint: `one of auto, ${known.join(", ")}`,
    });
  }
  return [{ ...candidate(machine, wanted, true), reason: "asked for" }];
}

function candidate({ syscalls }: Machine, name: StrategyName, last: boolean): Candidate {
  const make = () => MAKE[name](syscalls);
  return { name, make, reason: VIRTUES[name], last };
}

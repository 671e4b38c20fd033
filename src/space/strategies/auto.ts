import { IospanError } from "../../errors.js";
import type { Machine } from "../../machine/machine.js";
import { readAttribute } from "../../machine/sysfs.js";
import type { Syscalls } from "../../syscalls/syscalls.js";
import { mirrored } from "./mirrored.js";
import { sharedContainer } from "./shared-container.js";
import { type Strategy, type StrategyName, strategyNames } from "./strategy.js";

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
  /** Why it must not even be tried. */
  readonly objection: string | undefined;
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
};

const VIRTUES: Readonly<Record<StrategyName, string>> = {
  mirrored: "works on every kernel, and pins memory once per IOMMU",
  "shared-container": "one container takes all groups, and pins memory once",
};

/**
 * What to try, in order.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a strategy that does not exist.
 */
export function candidates(machine: Machine, wanted: StrategyName | "auto"): readonly Candidate[] {
  if (wanted === "auto")
    return AUTO_ORDER.map((name, index) => candidate(machine, name, index === AUTO_ORDER.length - 1));
  if (!strategyNames.includes(wanted)) {
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `there is no strategy "${wanted}"`, {
      hint: `one of auto, ${strategyNames.join(", ")}`,
    });
  }
  return [{ ...candidate(machine, wanted, true), objection: undefined, reason: "asked for" }];
}

function candidate({ syscalls }: Machine, name: StrategyName, last: boolean): Candidate {
  const make = () => MAKE[name](syscalls);
  return { name, make, objection: objectionTo(syscalls, name), reason: VIRTUES[name], last };
}

const OSRELEASE = "/proc/sys/kernel/osrelease";

/**
 * Why a strategy must not be tried on this machine; undefined when nothing is known against it.
 *
 * Linux 6.14 to 6.15.2 answers success to attaching a device to the domain of another SMMU, and does not attach it
 * (drivers/iommu/arm/arm-smmu-v3, broken by 48e7b8e284e5, mended by be5a2d3f8f97): with one container everything seems to
 * work and the second device's DMA is silently blocked.
 */
function objectionTo(syscalls: Syscalls, strategy: StrategyName): string | undefined {
  if (strategy === "mirrored") return undefined;
  const release = readAttribute({ syscalls }, OSRELEASE) ?? "";
  if (!attachesNowhere(release)) return undefined;
  return `Linux ${release} attaches a second SMMU's device to a shared container without effect; its DMA would be blocked`;
}

function attachesNowhere(release: string): boolean {
  const [, major, minor, patch] = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release) ?? [];
  if (Number(major) !== 6) return false;
  return Number(minor) === 14 || (Number(minor) === 15 && Number(patch ?? 0) <= 2);
}

import type { StrategyName } from "../space/strategies/strategy.js";
import { compatProviso, judgeContainers, judgeSharing } from "./containers-judgement.js";
import { judgeIommufd } from "./iommufd-judgement.js";
import { allOf, type Judgement, no, yes } from "./judgement.js";
import type { StrategyPlan } from "./plan.js";
import { judgeSingleDomain } from "./single-domain-judgement.js";
import { inWords, type Situation } from "./situation.js";

/** The order in which `auto` tries them, and what it never tries. */
const ORDER = ["iommufd", "shared-container", "mirrored", "single-domain"] as const satisfies readonly StrategyName[];

/** The chances of each strategy. */
export function planStrategies(situation: Situation): readonly StrategyPlan[] {
  return ORDER.map((strategy) => {
    const { verdict, reason } = judge(strategy, situation);
    const times = strategy === "mirrored" ? situation.keys.length : 1;
    return { strategy, verdict, reason, timesPinned: verdict === "no" ? undefined : times };
  });
}

/** What `auto` takes: the first that works; undefined where one before it may. */
export function recommend(strategies: readonly StrategyPlan[]): StrategyName | undefined {
  const tried = strategies.filter(({ strategy }) => strategy !== "single-domain");
  const first = tried.find(({ verdict }) => verdict !== "no");
  return first?.verdict === "yes" ? first.strategy : undefined;
}

/** No strategy helps a device that VFIO does not hand out. */
function judge(strategy: StrategyName, situation: Situation): Judgement {
  const [worst, ...others] = situation.judgements.filter(({ verdict }) => verdict !== "yes");
  const own = allOf(OWN[strategy](situation), judgeAddresses(situation));
  if (worst === undefined) return own;
  const devices = allOf(worst, ...others);
  return devices.verdict === "no" || own.verdict !== "no" ? devices : own;
}

/** Containers refuse to hold IOMMUs without an address in common, and elsewhere there would be nothing to map at. */
function judgeAddresses({ ranges, keys }: Situation): Judgement | undefined {
  if (ranges.unknown.length > 0 || ranges.known.ranges.length > 0) return undefined;
  return no(`${inWords(keys)} have no address in common`);
}

const OWN: Readonly<Record<StrategyName, (situation: Situation) => Judgement>> = {
  iommufd: judgeIommufd,
  "shared-container": (situation) => allOf(judgeSharing(situation), judgeContainers(situation)),
  mirrored: (situation) => allOf(mirrors(situation), judgeContainers(situation)),
  "single-domain": judgeSingleDomain,
};

function mirrors(situation: Situation): Judgement {
  const { keys } = situation;
  const proviso = compatProviso(situation);
  if (keys.length < 2) return yes(`one container for ${keys[0]}, on every kernel with VFIO${proviso}`);
  return yes(`a container for each of ${inWords(keys)}, on every kernel with VFIO${proviso}`);
}

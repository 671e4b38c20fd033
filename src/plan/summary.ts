import type { Plan, StrategyPlan } from "./plan.js";
import { inWords, type Situation } from "./situation.js";

/** Whether the devices can share an address space by any strategy, in a sentence. */
export function summarize(situation: Situation, strategies: readonly StrategyPlan[]): Pick<Plan, "verdict" | "reason"> {
  const best =
    (["yes", "unknown", "no"] as const).find((each) => strategies.some(({ verdict }) => verdict === each)) ?? "no";
  const { keys, subjects } = situation;
  if (best === "yes") return { verdict: best, reason: where(keys, subjects.length) };
  // What mirrored needs, all others that do without IOMMUs in common need as well.
  const most = strategies.find(({ strategy }) => strategy === "mirrored");
  const other = strategies.find(({ verdict }) => verdict === best);
  return { verdict: best, reason: (most?.verdict === best ? most : other)?.reason ?? "" };
}

function where(keys: readonly string[], devices: number): string {
  if (keys.length === 1) return devices === 1 ? `it is behind ${keys[0]}` : `all are behind ${keys[0]}`;
  return `they are behind ${keys.length} IOMMUs, which come to hold the same mappings: ${inWords(keys)}`;
}

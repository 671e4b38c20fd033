import type { Verdict } from "./plan.js";

/** A verdict, and what it rests on. */
export interface Judgement {
  readonly verdict: Verdict;
  readonly reason: string;
}

/** Nothing stands against it. */
export const yes = (reason: string): Judgement => ({ verdict: "yes", reason });
/** Something does. */
export const no = (reason: string): Judgement => ({ verdict: "no", reason });
/** Nobody tells. @param reason says what would */
export const unknown = (reason: string): Judgement => ({ verdict: "unknown", reason });

/** All of them have to hold: the first no, else the first unknown, else the first that there is. */
export function allOf(first: Judgement, ...others: readonly (Judgement | undefined)[]): Judgement {
  const all = [first, ...others.filter((each) => each !== undefined)];
  return (
    all.find(({ verdict }) => verdict === "no") ?? all.find(({ verdict }) => verdict === "unknown") ?? all[0] ?? first
  );
}

import { InvalidArgumentError } from "commander";
import { type ApproachName, approachNames } from "./approaches.js";

/** Kernels that behave differently enough to be worth a look. */
export const releases = ["5.10", "6.1", "6.12", "6.14", "7.3"] as const;
export const DEFAULT_RELEASE = "7.3";

/** What the user asked for on the command line. */
export interface DemoFlags {
  readonly chip: string;
  readonly approach?: readonly ApproachName[];
  readonly release: string;
  readonly trace?: true;
  readonly json?: true;
}

/** The value of `--approach`, added to those before: `--approach a,b --approach c`. */
export function readApproaches(text: string, before: readonly ApproachName[] = []): readonly ApproachName[] {
  const names = text.split(",").map((name) => name.trim());
  return [...before, ...names.map(readApproach)];
}

function readApproach(text: string): ApproachName {
  const found = approachNames.find((name) => name === text);
  if (found === undefined) throw new InvalidArgumentError(`Allowed choices are ${approachNames.join(", ")}.`);
  return found;
}

import type { FaultNotice } from "../../faults/fault.js";
import { FaultCounter, type FaultGroup } from "../../faults/fault-groups.js";
import { type FaultLog, FaultReader } from "../../faults/fault-reader.js";
import type { OpenLog } from "./open-log.js";

/** What a log came to. */
export interface Findings {
  /** Where the log is from. */
  readonly source: string;
  /** How many lines it has. */
  readonly lines: number;
  readonly groups: readonly FaultGroup[];
  readonly notices: readonly FaultNotice[];
}

/** One thing more: a fault's group as it is now, or a notice. */
export interface Finding {
  readonly group?: FaultGroup | undefined;
  readonly notice?: FaultNotice | undefined;
}

/** Reads a log to its end. @param told each finding as it comes. */
export async function findFaults(log: OpenLog, told: (finding: Finding) => void = () => {}): Promise<Findings> {
  const reader = new FaultReader();
  const counter = new FaultCounter();
  const notices: FaultNotice[] = [];
  let lines = 0;
  const take = (found: FaultLog) => {
    for (const fault of found.faults) told({ group: counter.add(fault) });
    for (const notice of found.notices) {
      notices.push(notice);
      told({ notice });
    }
  };
  for await (const line of log.lines) {
    if (line !== undefined) lines += 1;
    // A pause: nothing more of what has begun is to be expected.
    take(line === undefined ? reader.flush() : reader.read(line));
  }
  take(reader.flush());
  const groups = [...counter.groups].sort((a, b) => a.first.line - b.first.line);
  return { source: log.name, lines, groups, notices };
}

/** How many faults there are in all groups. */
export function faultCount({ groups }: Findings): number {
  return groups.reduce((sum, { count }) => sum + count, 0);
}

import type { FaultNotice, IommuFault } from "./fault.js";
import type { LogLine } from "./log-line.js";

/** What lines of a log come to. */
export type LogItem = { readonly fault: IommuFault } | { readonly notice: FaultNotice };

/**
 * Understands the messages of one driver, line by line. A record may take several lines, between which other messages and other
 * IOMMUs' may come.
 */
export interface LogParser {
  /** @returns what the line completes; undefined when the line is not this driver's. */
  read(line: LogLine): readonly LogItem[] | undefined;
  /** Nothing more comes for now: what is waiting for lines of its own is given as it is. */
  flush(): readonly LogItem[];
}

/** A notice about a line. */
export function notice(
  kind: FaultNotice["kind"],
  { text, time, number }: LogLine,
  facts: { readonly iommu?: string | undefined; readonly count?: number | undefined } = {},
): LogItem {
  return { notice: { kind, iommu: facts.iommu, count: facts.count, text: text.trim(), time, line: number } };
}

import { AmdViLog } from "./amd-vi-log.js";
import { DmarLog } from "./dmar-log.js";
import type { FaultNotice, IommuFault } from "./fault.js";
import { type LogItem, type LogParser, notice } from "./log-item.js";
import { type LogLine, logLine } from "./log-line.js";
import { Smmuv2Log } from "./smmuv2-log.js";
import { Smmuv3Log } from "./smmuv3-log.js";

/** What a kernel log says about DMA that IOMMUs refused. */
export interface FaultLog {
  /** In the order in which they begin in the log. */
  readonly faults: readonly IommuFault[];
  /** What makes the faults fewer than there were, or worse. */
  readonly notices: readonly FaultNotice[];
}

/** lib/ratelimit.c prints the function whose messages were too many. */
const SUPPRESSED =
  /\b((?:arm_smmu|qcom_(?:adreno_)?smmu|dmar|amd_iommu|iommu_print)\w*): (\d{1,10}) callbacks suppressed/;
/** What every message that counts has somewhere, so that others cost next to nothing. */
const CANDIDATE = /smmu|DMAR|AMD-Vi|INTR-REMAP|callbacks suppressed/;
/** No message of the kernel is longer (printk.c, PRINTK_MESSAGE_MAX); the rest is a log's own. */
const LONGEST_LINE = 4096;

/**
 * Reads a kernel log that comes bit by bit, such as a file that grows. It holds no more of it than the records that have begun.
 */
export class FaultReader {
  readonly #parsers: readonly LogParser[] = [new Smmuv3Log(), new Smmuv2Log(), new DmarLog(), new AmdViLog()];
  #lines = 0;

  /**
   * Takes the next line. Any text will do: what is no message of an IOMMU is passed over. Never throws.
   * @returns what it completes: mostly nothing, since a record takes up to seven lines.
   */
  read(text: string): FaultLog {
    this.#lines += 1;
    if (!CANDIDATE.test(text)) return EMPTY;
    return logOf(this.#readLine(logLine(text.slice(0, LONGEST_LINE), this.#lines)));
  }

  /**
   * Gives up waiting for the rest of records that have begun: at the log's end, or when nothing has come for a while.
   * @returns them, as far as they are known.
   */
  flush(): FaultLog {
    return logOf(this.#parsers.flatMap((parser) => parser.flush()));
  }

  #readLine(line: LogLine): readonly LogItem[] {
    const [, , count] = SUPPRESSED.exec(line.text) ?? [];
    if (count !== undefined) return [notice("suppressed", line, { count: Number(count) })];
    for (const parser of this.#parsers) {
      const items = parser.read(line);
      if (items !== undefined) return items;
    }
    return [];
  }
}

const EMPTY: FaultLog = { faults: [], notices: [] };

/**
 * Finds and decodes what IOMMU drivers say about refused DMA: arm-smmu-v3 (with and without the decoded lines of Linux 6.14 and
 * later), arm-smmu, Intel's DMAR and AMD-Vi; of several IOMMUs at once, and with whatever dmesg, journalctl -k, syslog or
 * `/dev/kmsg` put in front of each line. Never throws: text that is nothing of that is passed over.
 * @param log a kernel log, or its lines, such as `machine.kernelLog` of a simulated machine.
 */
export function readFaults(log: string | Iterable<string>): FaultLog {
  const reader = new FaultReader();
  const texts = typeof log === "string" ? [log] : [...log];
  const parts = texts.flatMap((text) => text.split("\n")).map((line) => reader.read(line));
  const all = [...parts, reader.flush()];
  return {
    faults: all.flatMap(({ faults }) => faults).sort(byLine),
    notices: all.flatMap(({ notices }) => notices).sort(byLine),
  };
}

function logOf(items: readonly LogItem[]): FaultLog {
  if (items.length === 0) return EMPTY;
  return {
    faults: items.flatMap((item) => ("fault" in item ? item.fault : [])).sort(byLine),
    notices: items.flatMap((item) => ("notice" in item ? item.notice : [])).sort(byLine),
  };
}

/** Records of several IOMMUs end in another order than they begin. */
function byLine(a: { readonly line: number }, b: { readonly line: number }): number {
  return a.line - b.line;
}

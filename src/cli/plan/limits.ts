import { hex, type IovaRange } from "../../iova.js";
import type { MemoryForecast, Plan } from "../../plan/plan.js";
import { formatRange, pageSizes, type RemovedIovaRange, wholeIovaSpace } from "../../space/iova-ranges.js";
import { faint, type Line, line } from "../text/line.js";
import { bytes, listed } from "../text/quantity.js";
import { wrap } from "../text/wrap.js";

const INDENT = 13;

/** Text behind a title, for as many columns as there are. */
function titled(width: number): (title: string, text: string) => readonly Line[] {
  return (title, text) => wrap(line(faint(`  ${title.padEnd(INDENT - 2)}`), text), width, INDENT);
}

/** Where mappings may lie, and who has removed what. */
export function renderRanges({ iovaRanges: { known, unknown }, devices }: Plan, width: number): readonly Line[] {
  const all = new Set(devices.flatMap(({ iommus }) => iommus)).size;
  const isOpen = unknown.length > 0;
  const text = known.ranges.map((range) => rangeText(range, isOpen)).join(", ") || "none";
  return [
    ...titled(width)("addresses", `${text}${unknownPart(unknown, all)}`),
    ...known.removed.flatMap((removed) => titled(width)("", removedText(removed, all))),
  ];
}

/** What nobody has put an end to goes on to where nobody knows. */
function rangeText(range: IovaRange, isOpen: boolean): string {
  if (isOpen && range.end === wholeIovaSpace.end) return `${hex(range.start)} and up`;
  return formatRange(range);
}

/** Without names where it was everybody. */
function removedText({ by, ...range }: RemovedIovaRange, all: number): string {
  return `without ${formatRange(range)}: ${by.length > 1 && by.length === all ? "for every device" : listed(by)}`;
}

/** Which pages all have; of those that only some have, who lacks them. */
export function renderPages({ pageSizes: { known, unknown, granule } }: Plan, width: number): readonly Line[] {
  if (unknown.length > 0) return titled(width)("pages", "told when VFIO has the devices");
  const sizes = listed(pageSizes(known.bitmap).map(bytes)) || "none in common";
  const multiple = granule === undefined ? "" : `; mappings are multiples of ${bytes(granule)}`;
  const removed = known.removed.map(({ size, by }) => `${bytes(size)} lacks ${listed(by)}`);
  return [...titled(width)("pages", `${sizes}${multiple}`), ...removed.flatMap((text) => titled(width)("", text))];
}

/** What each GiB costs of the limit, strategies with the same cost together. */
export function renderMemory({ memory }: Plan, width: number): readonly Line[] {
  const costs = new Map<string, string[]>();
  for (const { strategy, countedPerGiB, most } of memory.perStrategy) {
    const cost = `${bytes(countedPerGiB)}${mostText(most)}`;
    costs.set(cost, [...(costs.get(cost) ?? []), strategy]);
  }
  if (costs.size === 0) return [];
  const rows = [...costs].map(([cost, strategies]) => `${cost} with ${listed(strategies)}`);
  return titled(width)("memory", `${limitText(memory)}; a GiB that is mapped counts ${rows.join(", ")}`);
}

function limitText({ limit, isExempt }: MemoryForecast): string {
  const own =
    limit === undefined
      ? "the limit is not known"
      : limit === Number.POSITIVE_INFINITY
        ? "there is no limit"
        : `the limit is ${bytes(limit)}`;
  return isExempt === true ? `${own}, and CAP_IPC_LOCK lifts it` : own;
}

function mostText(most: number | undefined): string {
  return most === undefined || most === Number.POSITIVE_INFINITY ? "" : ` (at most ${bytes(most)} can be)`;
}

/** How many mappings a container takes. */
export function renderEntries({ entries: { perContainer, reach } }: Plan, width: number): readonly Line[] {
  if (perContainer === undefined) return [];
  const reaches = reach.map((each) => `${bytes(each.bytes)} in pieces of ${bytes(each.pageSize)}`);
  return titled(width)("mappings", `${perContainer} in a container: ${listed(reaches)}`);
}

function unknownPart(unknown: readonly string[], all: number): string {
  if (unknown.length === 0) return "";
  const who = unknown.length === all ? "" : ` ${listed(unknown)} reach${unknown.length === 1 ? "es" : ""}`;
  return `; how far${who} is told when VFIO has the devices`;
}

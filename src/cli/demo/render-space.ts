import { faint, type Line, line, name, WIDTH } from "../text/line.js";
import { bytes, listed } from "../text/quantity.js";
import { wrap } from "../text/wrap.js";
import type { MachineReport, SpaceReport } from "./result.js";

/** More ranges than that are counted. */
const MOST_RANGES = 4;

/** What all interfaces can address, and whose fault it is; nothing where their IOMMUs do not differ. */
export function renderSpace({ space, iommus }: MachineReport): readonly Line[] {
  if (space === null) return [];
  const causes = [...exclusions(space, iommus.length), ...missingPages(space)];
  if (causes.length === 0) return [];
  const ranges = rangesText(space.iovaRanges);
  return [
    ...wrap(line(`  IOVAs for all, in steps of ${bytes(space.granule)}: ${ranges}`), WIDTH, 4),
    ...causes.flatMap(({ who, what }) => wrap(line("    ", name(who), faint(` ${what}`)), WIDTH, 6)),
  ];
}

interface Cause {
  readonly who: string;
  readonly what: string;
}

/** What all IOMMUs lack is no difference. */
function exclusions({ removedIovas }: SpaceReport, iommus: number): readonly Cause[] {
  const some = removedIovas.filter(({ by }) => by.length < iommus);
  const whose = [...new Set(some.map(({ by }) => listed(by)))];
  return whose.map((who) => ({ who, what: `excludes ${rangesText(some.filter(({ by }) => listed(by) === who))}` }));
}

/** Only pages that are smaller than the steps are missed. */
function missingPages({ removedPageSizes, granule }: SpaceReport): readonly Cause[] {
  const missed = removedPageSizes.filter(({ size }) => size < granule);
  return missed.map(({ size, by }) => ({ who: listed(by), what: `has no pages of ${bytes(size)}` }));
}

function rangesText(ranges: readonly { readonly start: string; readonly end: string }[]): string {
  const shown = ranges.slice(0, MOST_RANGES).map(({ start, end }) => `${start}-${end}`);
  const more = ranges.length > MOST_RANGES ? [`${ranges.length - MOST_RANGES} more`] : [];
  return listed([...shown, ...more]);
}

import type { Fate } from "./block-devices.js";
import type { Departures } from "./departures.js";
import type { Finder, Ground, Lifeline } from "./lifeline.js";
import type { Mount } from "./mounts.js";
import type { Storage } from "./storage.js";

/** As many mount points as a message names. */
const NAMED = 4;

/** Mounted file systems and swap, on whatever layers of block devices. */
export const findMounted: Finder = (ground) => [...mountLifelines(ground), ...swapLifelines(ground)];

/** A file system that is mounted in many places is told once. */
function mountLifelines({ departures, storage }: Ground): readonly Lifeline[] {
  const bySource = new Map<string, Mount[]>();
  for (const mount of storage.mounts) {
    const key = `${mount.type} ${mount.number} ${mount.source}`;
    bySource.set(key, [...(bySource.get(key) ?? []), mount]);
  }
  return [...bySource.values()].flatMap((mounts) => {
    const [mount] = mounts;
    if (mount === undefined) return [];
    const fate = mountFate(storage, storage.blocksOf(mount), departures);
    if (fate === undefined) return [];
    const points = [...new Set(mounts.map(({ point }) => point))];
    const what = `${pointList(points)} mounted from ${sourceText(mount)}`;
    return [lifeline("mount", fate, what, mount.source)];
  });
}

function mountFate(storage: Storage, names: readonly string[], departures: Departures): Fate | undefined {
  const fates = names.map((name) => storage.blocks.fate(name, departures));
  const fate = worst(fates);
  const gone = fates.filter((each) => each?.lost === true && each.array === undefined).length;
  return fate !== undefined && gone > 0 && gone <= storage.spareBlocks(names) ? { ...fate, array: "btrfs" } : fate;
}

/** As a message names them. */
export function pointList(points: readonly string[]): string {
  const sorted = points.toSorted((a, b) => a.length - b.length);
  const named = sorted.slice(0, NAMED);
  const more = sorted.length - named.length;
  const text = more > 0 ? `${named.join(", ")} and ${more} more` : named.join(" and ");
  return `${text} ${points.length === 1 ? "is" : "are"}`;
}

function sourceText({ type, source }: Mount): string {
  return type === "zfs" ? `${source} (ZFS, which does not tell which pool a disk is of)` : source;
}

function swapLifelines({ departures, storage }: Ground): readonly Lifeline[] {
  return storage.swaps.flatMap((name) => {
    const fate = worst(storage.blocksBelow(name).map((each) => storage.blocks.fate(each, departures)));
    return fate === undefined ? [] : [lifeline("swap", fate, `swap is on ${name}`, name)];
  });
}

function worst(fates: readonly (Fate | undefined)[]): Fate | undefined {
  const hit = fates.filter((fate) => fate !== undefined);
  return hit.find(({ lost, array }) => lost && array === undefined) ?? hit.find(({ lost }) => lost) ?? hit[0];
}

function lifeline(
  kind: "mount" | "swap",
  { lost, departure, through, array }: Fate,
  what: string,
  source: string,
): Lifeline {
  const layers = through.filter((name) => source !== `/dev/${name}`);
  const by = layers.length === 0 ? "" : ` (by ${layers.join(", ")})`;
  const end = lost ? "" : "; it goes on over another path";
  const where = array === undefined || !lost ? ", which" : `; a member of the redundant array ${array}`;
  return {
    kind,
    device: departure.device,
    cuts: lost,
    message: `${what}${where} is on ${departure.place}${by}${end}`,
  };
}

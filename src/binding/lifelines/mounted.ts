import type { Fate } from "./block-devices.js";
import type { Finder, Ground, Lifeline } from "./lifeline.js";
import type { Mount } from "./mounts.js";
import { Storage } from "./storage.js";

/** As many mount points as a message names. */
const NAMED = 4;

/** Mounted file systems and swap, on whatever layers of block devices. */
export const findMounted: Finder = (ground) => {
  const storage = new Storage(ground.reader);
  return [...mountLifelines(ground, storage), ...swapLifelines(ground, storage)];
};

/** A file system that is mounted in many places is told once. */
function mountLifelines({ departures }: Ground, storage: Storage): readonly Lifeline[] {
  const bySource = new Map<string, Mount[]>();
  for (const mount of storage.mounts) {
    const key = `${mount.type} ${mount.number} ${mount.source}`;
    bySource.set(key, [...(bySource.get(key) ?? []), mount]);
  }
  return [...bySource.values()].flatMap((mounts) => {
    const [mount] = mounts;
    if (mount === undefined) return [];
    const fate = worst(storage.blocksOf(mount).map((name) => storage.blocks.fate(name, departures)));
    if (fate === undefined) return [];
    const points = [...new Set(mounts.map(({ point }) => point))];
    const what = `${pointList(points)} mounted from ${sourceText(mount)}`;
    return [lifeline("mount", fate, what, mount.source)];
  });
}

function pointList(points: readonly string[]): string {
  const sorted = points.toSorted((a, b) => a.length - b.length);
  const named = sorted.slice(0, NAMED);
  const more = sorted.length - named.length;
  const text = more > 0 ? `${named.join(", ")} and ${more} more` : named.join(" and ");
  return `${text} ${points.length === 1 ? "is" : "are"}`;
}

function sourceText({ type, source }: Mount): string {
  return type === "zfs" ? `${source} (ZFS, which does not tell which pool a disk is of)` : source;
}

function swapLifelines({ reader, departures }: Ground, storage: Storage): readonly Lifeline[] {
  return reader.lines("/proc/swaps").flatMap((line) => {
    const [file = ""] = line.split(/\s/);
    if (!file.startsWith("/")) return [];
    const name = file.replace(/\\040\(deleted\)$/, "");
    const fate = worst(storage.blocksBelow(name).map((each) => storage.blocks.fate(each, departures)));
    return fate === undefined ? [] : [lifeline("swap", fate, `swap is on ${name}`, name)];
  });
}

function worst(fates: readonly (Fate | undefined)[]): Fate | undefined {
  const hit = fates.filter((fate) => fate !== undefined);
  return hit.find(({ lost }) => lost) ?? hit[0];
}

function lifeline(kind: "mount" | "swap", { lost, departure, through }: Fate, what: string, source: string): Lifeline {
  const layers = through.filter((name) => source !== `/dev/${name}`);
  const by = layers.length === 0 ? "" : ` (by ${layers.join(", ")})`;
  const end = lost ? "" : "; it goes on over another path";
  return {
    kind,
    device: departure.device,
    cuts: lost,
    message: `${what}, which is on ${departure.place}${by}${end}`,
  };
}

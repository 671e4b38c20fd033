import type { Ground, Lifeline } from "./lifeline.js";
import { pointList } from "./mounted.js";

/**
 * Disks that a mounted ZFS may be on: it does not say which it has, and where no partition has a name that it gives, any
 * disk may be one on which nothing else is.
 */
export function findPossibleZfs({ departures, storage }: Ground, used: ReadonlySet<string>): readonly Lifeline[] {
  const { blocks } = storage;
  const points = storage.mounts.filter(({ type }) => type === "zfs").map(({ point }) => point);
  if (points.length === 0 || storage.zfsMembers().length > 0) return [];
  const held = new Set(blocks.names.filter((each) => blocks.holdersOf(each).length > 0));
  const known = new Set([...used, ...[...held].flatMap((each) => [...blocks.below(each)])]);
  return blocks.names.flatMap((name): readonly Lifeline[] => {
    const fate = blocks.below(name).size > 1 || known.has(name) ? undefined : blocks.fate(name, departures);
    if (fate?.lost !== true) return [];
    const { device, place } = fate.departure;
    const what = `${pointList([...new Set(points)])} mounted from a ZFS, which does not tell its disks`;
    return [{ kind: "mount", device, cuts: true, message: `${what}: /dev/${name} of ${place} may be one` }];
  });
}

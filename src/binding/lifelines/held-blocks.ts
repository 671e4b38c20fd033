import type { Ground, Lifeline } from "./lifeline.js";

/** Block devices that others were built on, and not those in `used`: something has them, and what is not known. */
export function findHeldBlocks(
  { departures, storage: { blocks } }: Ground,
  used: ReadonlySet<string>,
): readonly Lifeline[] {
  return blocks.names.flatMap((name): readonly Lifeline[] => {
    const departure = departures.of(blocks.path(name));
    if (departure === undefined || used.has(name)) return [];
    const holders = blocks.holdersOf(name).map((each) => blocks.nodesOf(each)[0]);
    if (holders.length === 0) return [];
    const message = `/dev/${name} of ${departure.place} is a part of ${holders.join(", ")}, of which no use was found`;
    return [{ kind: "open-node", device: departure.device, cuts: false, message }];
  });
}

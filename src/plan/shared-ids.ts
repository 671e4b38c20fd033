import type { TopologyDevice } from "../topology/topology.js";

/**
 * Devices that the IOMMU takes for one: for each, by path, the names of those that have an ID in common with it at the same
 * IOMMU. Devices that are off do not count, nor do the ranges of a bus, which are for the devices on it.
 */
export function sharedIds(devices: readonly TopologyDevice[]): ReadonlyMap<string, readonly string[]> {
  const owners = new Map<string, TopologyDevice[]>();
  for (const device of devices.filter(({ enabled }) => enabled)) {
    for (const key of new Set(idsOf(device))) {
      const list = owners.get(key);
      if (list === undefined) owners.set(key, [device]);
      else list.push(device);
    }
  }
  const sharers = new Map<string, Set<string>>();
  for (const list of owners.values()) if (list.length > 1) addAll(sharers, list);
  return new Map([...sharers].map(([path, names]) => [path, [...names].sort()]));
}

function idsOf({ links }: TopologyDevice): readonly string[] {
  return links.flatMap(({ iommu, ids }) =>
    ids
      .filter(({ input, count }) => input === undefined && count === 1)
      .map(({ first, rest = [] }) => [iommu, first, ...rest].join(" ")),
  );
}

function addAll(sharers: Map<string, Set<string>>, devices: readonly TopologyDevice[]): void {
  for (const { path } of devices) {
    const names = sharers.get(path) ?? new Set();
    for (const other of devices) if (other.path !== path) names.add(other.name);
    sharers.set(path, names);
  }
}

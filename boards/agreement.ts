import type { Topology, TopologyDevice } from "../src/topology/topology.js";
import type { Translation } from "./independent/translation.js";

/**
 * Where a topology and the computation beside it differ about a board: each difference in words, with both sides.
 * @param translations by path
 */
export function topologyDifferences(topology: Topology, translations: ReadonlyMap<string, Translation>): string[] {
  const devices = new Map(topology.devices.map((device) => [device.path, device]));
  const unknown = topology.devices.filter(({ path }) => !translations.has(path));
  return [
    ...unknown.map(({ path }) => `${path}: the topology has it, the independent reading has not`),
    ...Array.from(translations.values()).flatMap((each) => difference(devices.get(each.path), each)),
  ];
}

function difference(device: TopologyDevice | undefined, other: Translation): string[] {
  const { path } = other;
  if (device === undefined) return [`${path}: the independent reading has it, the topology has not`];
  if (device.enabled !== other.present) {
    return [`${path}: ${device.enabled ? "on" : "off"} in the topology, ${other.present ? "on" : "off"} beside it`];
  }
  const [left, right] = [words(usedIommus(device)), words(other.iommus)];
  return left === right ? [] : [`${path}: behind ${left} in the topology, behind ${right} beside it`];
}

/**
 * Paths of the IOMMUs that translate for a device, sorted; of a bus, for what is on it. Undefined where a topology cannot
 * tell.
 */
export function usedIommus(device: TopologyDevice): readonly string[] | undefined {
  const own = device.links.filter(({ via }) => device.bus === "pci" || via !== "iommu-map");
  if (own.length === 0) return ofBus(device);
  if (own.some(({ used }) => used === undefined)) return undefined;
  return [...new Set(own.filter(({ used }) => used).map(({ iommu }) => iommu))].sort();
}

/** One that does no DMA itself: what is on it may have any of its IOMMUs. */
function ofBus({ links }: TopologyDevice): readonly string[] | undefined {
  const used = links.filter((link) => link.used).map(({ iommu }) => iommu);
  return used.length > 1 ? undefined : used;
}

function words(iommus: readonly string[] | undefined): string {
  if (iommus === undefined) return "nobody knows what";
  return iommus.length === 0 ? "none" : iommus.join(" and ");
}

import { translatedId } from "../resolve-functions.js";
import type { Topology, TopologyDevice, TopologyIommu } from "../topology.js";
import type { PictureOptions } from "./graph.js";

/** What of a topology a picture shows. */
export interface Drawn {
  /** In the topology's order; buses among them. */
  readonly devices: readonly TopologyDevice[];
  readonly iommus: readonly TopologyIommu[];
  /** By path of a PCI function: the host it is on, where all on it goes one way. */
  readonly hosts: ReadonlyMap<string, TopologyDevice>;
}

const PCI_BRIDGE = 0x0604;

/**
 * Leaves out what says nothing about the way of DMA: devices that no IOMMU is told of, which would be most of a machine;
 * unless all is wanted, bridges, what is switched off, and IOMMUs that nothing shown is behind. @internal
 */
export function drawnOf(topology: Topology, { all = false }: PictureOptions): Drawn {
  const ofEngines = new Set(topology.engines.flatMap(({ interfaces }) => interfaces));
  const shown = topology.devices.filter(
    (device) => device.links.length > 0 && (all || ofEngines.has(device.path) || (device.enabled && !isBridge(device))),
  );
  const hosts = hostsOf(shown, topology);
  const used = new Set([...hosts.values()].map(({ path }) => path));
  const isLive = topology.sources.some(({ kind }) => kind === "sysfs");
  // Firmware's ranges of IDs say nothing more where the kernel has named the functions.
  const isIdle = ({ isBus, paths, path }: TopologyDevice) =>
    !all && isBus && isLive && paths.sysfs === undefined && !used.has(path);
  const drawn = new Set(shown.filter((device) => !isIdle(device)).map(({ path }) => path));
  const devices = topology.devices.filter(({ path }) => drawn.has(path) || used.has(path));
  const linked = new Set(devices.flatMap(({ links }) => links.map(({ iommu }) => iommu)));
  const iommus = topology.iommus.filter(({ path }) => all || linked.has(path));
  // A selection of IOMMUs alone has nothing but these.
  return { devices, hosts, iommus: iommus.length > 0 ? iommus : topology.iommus };
}

/** Its class says so, which firmware writes as `pciclass,0604`. @internal */
export function isBridge({ pci, compatible }: TopologyDevice): boolean {
  if (pci?.class !== undefined) return pci.class >>> 8 === PCI_BRIDGE;
  return compatible.some((each) => each.startsWith("pciclass,0604"));
}

function hostsOf(shown: readonly TopologyDevice[], { devices }: Topology): ReadonlyMap<string, TopologyDevice> {
  const functions = shown.filter(({ bus, isBus, links }) => bus === "pci" && !isBus && links.length === 1);
  const found = new Map<string, TopologyDevice>();
  const maps = devices.filter((each) => mapTargets(each).size === 1);
  const byName = new Map(devices.filter(({ bus }) => bus !== "pci").map((each) => [each.name, each]));
  for (const each of functions) {
    const host = maps.find((bus) => isThrough(each, bus)) ?? byName.get(each.host ?? "");
    if (host !== undefined) found.set(each.path, host);
  }
  return withoutForks(found, functions);
}

/** Whether the host's map leads to the IOMMU that the function is behind. */
function isThrough(device: TopologyDevice, bus: TopologyDevice): boolean {
  const isOn = device.host === undefined ? bus.domain === device.domain : [bus.path, bus.name].includes(device.host);
  const [link] = device.links;
  if (!isOn || link === undefined || !mapTargets(bus).has(link.iommu)) return false;
  const { requesterId } = device;
  return requesterId === undefined || bus.links.some((each) => translatedId(each, requesterId) !== undefined);
}

function mapTargets({ links }: TopologyDevice): ReadonlySet<string> {
  return new Set(links.filter(({ ids }) => ids.some(({ input }) => input !== undefined)).map(({ iommu }) => iommu));
}

/** Through a host whose functions have several IOMMUs no single line can be drawn. */
function withoutForks(
  hosts: ReadonlyMap<string, TopologyDevice>,
  functions: readonly TopologyDevice[],
): ReadonlyMap<string, TopologyDevice> {
  const targets = new Map<TopologyDevice, Set<string>>();
  for (const { path, links } of functions) {
    const host = hosts.get(path);
    if (host !== undefined) targets.set(host, (targets.get(host) ?? new Set()).add(links[0]?.iommu ?? ""));
  }
  return new Map([...hosts].filter(([, host]) => targets.get(host)?.size === 1));
}

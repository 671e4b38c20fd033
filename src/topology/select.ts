import type { Topology, TopologyDevice, TopologyIommu } from "./topology.js";

/** What is wanted of a topology. All that are given must hold. */
export interface TopologySelection {
  /** Text in the name, kind or path of an IOMMU. */
  readonly iommu?: string | undefined;
  /** A group's number, or `none` for devices that are known to be in none. */
  readonly group?: number | "none" | undefined;
  /** A bus of Linux's: `pci`, `platform`. */
  readonly bus?: string | undefined;
  /** A driver's name, or `none` for devices that have none. */
  readonly driver?: string | undefined;
  /** Text in the name, path or `compatible` of a device. */
  readonly device?: string | undefined;
}

/** A part of a topology: the devices that are wanted, with their IOMMUs and groups, and the findings about them. */
export function selectTopology(topology: Topology, selection: TopologySelection): Topology {
  const { iommu, ...ofDevices } = selection;
  const isAboutDevices = [ofDevices.group, ofDevices.bus, ofDevices.driver, ofDevices.device].some(isGiven);
  if (iommu === undefined && !isAboutDevices) return topology;
  const wantedIommus = new Set(
    topology.iommus.filter((each) => iommu === undefined || isIommu(each, iommu)).map(({ path }) => path),
  );
  const devices = topology.devices.filter(
    (each) =>
      (iommu === undefined || each.links.some((link) => wantedIommus.has(link.iommu))) && isDevice(each, selection),
  );
  // Only where nothing but IOMMUs are asked for are those wanted that nothing is behind.
  const linked = new Set(devices.flatMap(({ links }) => links.map((link) => link.iommu)));
  const iommus = topology.iommus.filter(({ path }) => wantedIommus.has(path) && (!isAboutDevices || linked.has(path)));
  return { ...topology, ...restOf(topology, devices), devices: withLinksTo(devices, iommus), iommus };
}

function restOf(
  topology: Topology,
  devices: readonly TopologyDevice[],
): Pick<Topology, "groups" | "engines" | "findings"> {
  const paths = new Set(devices.map(({ path }) => path));
  const groups = new Set(devices.map(({ group }) => group));
  return {
    groups: topology.groups.filter(({ number }) => groups.has(number)),
    engines: topology.engines.filter(({ interfaces }) => interfaces.some((each) => paths.has(each))),
    findings: topology.findings.filter(({ about }) => about !== undefined && paths.has(about)),
  };
}

function withLinksTo(devices: readonly TopologyDevice[], iommus: readonly TopologyIommu[]): readonly TopologyDevice[] {
  const known = new Set(iommus.map(({ path }) => path));
  return devices.map((device) => ({ ...device, links: device.links.filter(({ iommu }) => known.has(iommu)) }));
}

function isIommu({ name, kind, paths }: TopologyIommu, text: string): boolean {
  return contains([name, kind, ...Object.values(paths)], text);
}

const isGiven = (value: unknown) => value !== undefined;

function isDevice(device: TopologyDevice, { group, bus, driver, device: text }: TopologySelection): boolean {
  const isGrouped = group === undefined || device.group === (group === "none" ? null : group);
  const isDriven = driver === undefined || device.driver === (driver === "none" ? null : driver);
  const isOnBus = bus === undefined || device.bus === bus;
  const { name, paths, compatible } = device;
  return (
    isGrouped &&
    isDriven &&
    isOnBus &&
    (text === undefined || contains([name, ...Object.values(paths), ...compatible], text))
  );
}

function contains(texts: readonly string[], wanted: string): boolean {
  return texts.some((text) => text.toLowerCase().includes(wanted.toLowerCase()));
}

import type { Topology, TopologyDevice, TopologyIommu } from "./topology.js";

/** What is wanted of a topology. All that are given must hold. */
export interface TopologySelection {
  /** Text in the name, kind or path of an IOMMU. */
  readonly iommu?: string | undefined;
  /** A driver's name, or `none` for devices that have none. */
  readonly driver?: string | undefined;
  /** Text in the name, path or `compatible` of a device. */
  readonly device?: string | undefined;
}

/** A part of a topology: the devices that are wanted, with their IOMMUs and groups, and the findings about them. */
export function selectTopology(topology: Topology, selection: TopologySelection): Topology {
  const { iommu, driver, device } = selection;
  if (iommu === undefined && driver === undefined && device === undefined) return topology;
  const wantedIommus = new Set(
    topology.iommus.filter((each) => iommu === undefined || isIommu(each, iommu)).map(({ path }) => path),
  );
  const devices = topology.devices.filter(
    (each) =>
      (iommu === undefined || each.links.some((link) => wantedIommus.has(link.iommu))) && isDevice(each, selection),
  );
  // Only where nothing but IOMMUs are asked for are those wanted that nothing is behind.
  const onlyIommus = driver === undefined && device === undefined;
  const linked = new Set(devices.flatMap(({ links }) => links.map((link) => link.iommu)));
  const iommus = topology.iommus.filter(({ path }) => wantedIommus.has(path) && (onlyIommus || linked.has(path)));
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

function isDevice(device: TopologyDevice, { driver, device: text }: TopologySelection): boolean {
  const isDriven = driver === undefined || (driver === "none" ? device.driver === null : device.driver === driver);
  const { name, paths, compatible } = device;
  return isDriven && (text === undefined || contains([name, ...Object.values(paths), ...compatible], text));
}

function contains(texts: readonly string[], wanted: string): boolean {
  return texts.some((text) => text.toLowerCase().includes(wanted.toLowerCase()));
}

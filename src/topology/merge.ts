import { checked } from "./check.js";
import { contradictions } from "./contradictions.js";
import { joinLinks } from "./join-links.js";
import { Joined } from "./joined.js";
import { resolveFunctions } from "./resolve-functions.js";
import type { Finding, Topology, TopologyDevice, TopologyIommu } from "./topology.js";

/**
 * Makes one topology of what several sources say of one machine. A thing is one where sources call it the same: the path
 * in the device tree (sysfs knows it), an IOMMU's address, a device's name on its bus. What the first source that knows
 * says is taken, so that the kernel's sysfs goes before firmware; where they contradict each other there is a finding.
 * @param topologies sysfs first.
 */
export function mergeTopologies(topologies: readonly Topology[]): Topology {
  const [first, ...others] = topologies;
  if (first === undefined) return NOTHING;
  if (others.length === 0) return first;
  return checked(resolveFunctions(others.reduce(mergeTwo, first)));
}

const NOTHING: Topology = {
  sources: [],
  iommus: [],
  groups: [],
  devices: [],
  engines: [],
  memory: undefined,
  findings: [],
};

function mergeTwo(first: Topology, second: Topology): Topology {
  const iommus = new Joined(first.iommus, second.iommus, sameIommu, joinIommus);
  const devices = new Joined(first.devices, second.devices, sameDevice, (a, b) =>
    joinDevices(a, withPaths(b, iommus.pathOf)),
  );
  const added = devices.items.map((device) => withPaths(device, iommus.pathOf));
  const renamed = (finding: Finding): Finding => {
    const { about } = finding;
    return about === undefined ? finding : { ...finding, about: iommus.pathOf(devices.pathOf(about)) };
  };
  const decided = new Set(
    devices.pairs.flatMap(([{ path, links }]) => (links.some(({ via }) => via === "sysfs") ? [path] : [])),
  );
  const both = { sources: [...first.sources, ...second.sources], iommus: iommus.items, devices: added };
  return {
    ...both,
    groups: [...first.groups, ...second.groups],
    engines: [...first.engines, ...second.engines].map(({ name, interfaces }) => ({
      name,
      interfaces: interfaces.map(devices.pathOf),
    })),
    memory: first.memory ?? second.memory,
    aliases: first.aliases ?? second.aliases,
    others: first.others ?? second.others,
    findings: [
      ...first.findings,
      // What Linux would do was said before it was known what it did.
      ...second.findings.map(renamed).filter(({ id, about }) => id !== "several-iommus" || !decided.has(about ?? "")),
      ...contradictions(first, second, { iommus, devices }),
    ],
  };
}

function sameIommu({ paths, addresses, name }: TopologyIommu): readonly string[] {
  const [address] = addresses;
  return [...pathKeys(paths), ...(address === undefined ? [] : [`at ${address}`]), `name ${name}`];
}

function sameDevice({ paths, acpi, bus, name }: TopologyDevice): readonly string[] {
  return [...pathKeys(paths), ...(acpi === undefined ? [] : [`acpi ${acpi}`]), `${bus} ${name}`];
}

function pathKeys(paths: TopologyDevice["paths"]): readonly string[] {
  return paths["device-tree"] === undefined ? [] : [`tree ${paths["device-tree"]}`];
}

function joinIommus(a: TopologyIommu, b: TopologyIommu): TopologyIommu {
  return {
    ...a,
    paths: { ...b.paths, ...a.paths },
    kind: a.kind === "other" ? b.kind : a.kind,
    compatible: a.compatible.length > 0 ? a.compatible : b.compatible,
    addresses: a.addresses.length > 0 ? a.addresses : b.addresses,
    coherent: a.coherent ?? b.coherent,
    device: a.device ?? b.device,
  };
}

function joinDevices(a: TopologyDevice, b: TopologyDevice): TopologyDevice {
  return {
    ...a,
    paths: { ...b.paths, ...a.paths },
    isBus: a.isBus || b.isBus,
    driver: a.driver === undefined ? b.driver : a.driver,
    group: a.group === undefined ? b.group : a.group,
    pci: a.pci ?? b.pci,
    requesterId: a.requesterId ?? b.requesterId,
    host: a.host ?? b.host,
    domain: a.domain ?? b.domain,
    compatible: a.compatible.length > 0 ? a.compatible : b.compatible,
    acpi: a.acpi ?? b.acpi,
    links: joinLinks(a.links, b.links),
    reserved: a.reserved.length > 0 ? a.reserved : b.reserved,
    coherent: a.coherent ?? b.coherent,
  };
}

function withPaths(device: TopologyDevice, pathOf: (path: string) => string): TopologyDevice {
  const links = device.links.map((link) => ({ ...link, iommu: pathOf(link.iommu) }));
  return { ...device, links };
}

import { joinLinks } from "./join-links.js";
import type { Finding, IommuLink, Topology, TopologyDevice } from "./topology.js";

/**
 * Gives PCI functions that the kernel lists the IDs that firmware's maps give their requester IDs, and says where the two
 * do not agree on the IOMMU. @internal
 */
export function resolveFunctions(topology: Topology): Topology {
  const buses = topology.devices.filter(({ isBus, links }) => isBus && links.some(hasMap));
  if (buses.length === 0) return topology;
  const names = new Map(topology.iommus.map(({ path, name }) => [path, name]));
  const findings: Finding[] = [];
  const devices = topology.devices.map((device) => {
    const found = device.isBus ? undefined : expectedLink(device, buses);
    if (found === undefined) return device;
    const { link: expected, bus } = found;
    const real = device.links.find(({ via }) => via === "sysfs");
    if (real !== undefined && real.iommu !== expected.iommu) {
      const text = `${device.name} is behind ${names.get(real.iommu)}, says the kernel; firmware's ID map says ${names.get(expected.iommu)}`;
      findings.push({ id: "iommu-differs", severity: "warning", about: device.path, text });
    }
    return { ...device, links: joinLinks(device.links, [expected]), coherent: device.coherent ?? bus.coherent };
  });
  return { ...topology, devices, findings: [...topology.findings, ...findings] };
}

/** What firmware says of a function by way of the bus it is on. */
interface Expected {
  readonly link: IommuLink;
  readonly bus: TopologyDevice;
}

/** Through the map of the bus it is on; undefined where none has its ID. */
function expectedLink(device: TopologyDevice, buses: readonly TopologyDevice[]): Expected | undefined {
  const { requesterId } = device;
  if (requesterId === undefined || device.paths.sysfs === undefined) return undefined;
  for (const bus of buses.filter((each) => isOn(device, each))) {
    for (const link of bus.links.filter(hasMap)) {
      const id = translatedId(link, requesterId);
      if (id === undefined) continue;
      const { iommu, used, via } = link;
      return { link: { iommu, ids: [{ first: id, count: 1 }], used, via }, bus };
    }
  }
  return undefined;
}

function isOn(device: TopologyDevice, bus: TopologyDevice): boolean {
  if (device.host !== undefined && (device.host === bus.path || device.host === bus.name)) return true;
  return bus.domain !== undefined && bus.domain === device.domain;
}

const hasMap = ({ ids }: IommuLink) => ids.some(({ input }) => input !== undefined);

/**
 * What a bus's link makes of a requester ID; undefined where it has no such. A range that begins with the ID goes before one
 * that ends with it: some tables count one ID too many. @internal
 */
export function translatedId({ ids, mask = 0xffff_ffff }: IommuLink, requesterId: number): number | undefined {
  const id = (requesterId & mask) >>> 0;
  const row =
    ids.find(({ input, count }) => input === id && count > 0) ??
    ids.find(({ input, count }) => input !== undefined && id >= input && id - input < count);
  return row?.input === undefined ? undefined : row.first + id - row.input;
}

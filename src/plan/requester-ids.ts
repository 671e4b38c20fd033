import { pciName } from "../topology/pci-name.js";
import { type IdRange, type IommuLink, type TopologyDevice, topologyDevice } from "../topology/topology.js";

/** A PCI function by its place. */
export interface PciPlace {
  readonly domain: number;
  /** Bus, device and function. */
  readonly requesterId: number;
}

/** The place that a name stands for, `0000:01:00.0`; undefined for other names. */
export function placeOf(name: string): PciPlace | undefined {
  const [, domain, bus, device, fn] = /^([0-9a-f]{4,8}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])$/.exec(name) ?? [];
  if (domain === undefined || bus === undefined || device === undefined) return undefined;
  const hex = (text: string) => Number.parseInt(text, 16);
  return { domain: hex(domain), requesterId: (hex(bus) << 8) | (hex(device) << 3) | Number(fn) };
}

/**
 * A function behind a host that firmware tells of, as it would be: behind the IOMMU that the host's map gives its requester ID
 * to. Undefined where the map has no row for it.
 */
export function functionBehind(host: TopologyDevice, { domain, requesterId }: PciPlace): TopologyDevice | undefined {
  const links = host.links.flatMap((link) => {
    const id = rowFor(link, requesterId);
    return id === undefined ? [] : [{ ...link, ids: [id] }];
  });
  const [link] = links;
  if (link === undefined) return undefined;
  const name = pciName(domain, requesterId);
  return topologyDevice({
    path: `${host.path}/${name}`,
    paths: {},
    name,
    bus: "pci",
    isBus: false,
    links: [link],
    enabled: host.enabled,
    disabledBecause: host.disabledBecause,
    requesterId,
    domain,
    host: host.path,
    coherent: host.coherent,
  });
}

/** The first row that has the ID counts (drivers/of/base.c, of_map_id). */
function rowFor({ ids, mask = 0xffff_ffff }: IommuLink, requesterId: number): IdRange | undefined {
  const id = (requesterId & mask) >>> 0;
  const row = ids.find(({ input, count }) => input !== undefined && id >= input && id - input < count);
  if (row?.input === undefined) return undefined;
  return { first: row.first + id - row.input, count: 1, ...(row.rest === undefined ? {} : { rest: row.rest }) };
}

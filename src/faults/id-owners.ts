import type { IdRange, IommuLink, Topology, TopologyDevice } from "../topology/topology.js";
import { pciDeviceName } from "./pci-address.js";

/** A device that a fault may be of. */
export interface FaultOwner {
  /** The kernel's name: `0000:02:00.0`, `9030000.dma-port`; of a bus that is not PCI and lists no devices, the bus's. */
  readonly name: string;
  /** Of the device in the topology; undefined for a PCI function that is known by the ID map of its bus alone. */
  readonly path: string | undefined;
  /** Null: it has none. Undefined: no source tells. */
  readonly driver: string | null | undefined;
  /** The number of its IOMMU group; null and undefined as {@link driver}. */
  readonly group: number | null | undefined;
}

/** Who has an ID, as far as a topology tells. */
export interface IdOwners {
  readonly owners: readonly FaultOwner[];
  /** `ids`: a source tells the IDs. `requester-id`: none does, and a PCI function's own ID is the same. */
  readonly from: "ids" | "requester-id" | "unknown";
  /** Functions that would have the ID, and are not there. */
  readonly missing: readonly FaultOwner[];
}

interface Connected {
  readonly device: TopologyDevice;
  readonly link: IommuLink;
}

/**
 * Who has an ID at one of some IOMMUs: devices whose IDs firmware tells, else a function of a bus whose ID map has it, else a
 * PCI function whose requester ID it is and whose ID at the IOMMU nobody tells.
 * @param iommus paths in the topology.
 */
export function idOwners(id: number, iommus: ReadonlySet<string>, topology: Topology): IdOwners {
  const connected = topology.devices.flatMap((device) =>
    device.links.filter(({ iommu }) => iommus.has(iommu)).map((link): Connected => ({ device, link })),
  );
  const own = usedFirst(connected.filter((each) => hasId(each, id)));
  if (own.length > 0) return { owners: own.map(ownerOf), from: "ids", missing: [] };
  const mapped = unique(connected.flatMap((each) => onBus(each, id)));
  // The kernel lists all functions there are; firmware alone lists none.
  const isLive = topology.sources.some(({ kind }) => kind === "sysfs");
  const [owners, missing] = isLive ? [mapped.filter(({ path }) => path !== undefined), mapped] : [mapped, []];
  if (owners.length > 0) return { owners, from: "ids", missing: [] };
  const alike = connected.filter(({ device, link }) => link.ids.length === 0 && device.requesterId === id);
  if (alike.length > 0) return { owners: alike.map(ownerOf), from: "requester-id", missing: [] };
  const isTold = connected.some(({ link }) => link.ids.length > 0);
  return { owners: [], from: isTold ? "ids" : "unknown", missing };
}

/** A device of a topology as a fault's. */
export function ownerOf({ device: { name, path, driver, group } }: Pick<Connected, "device">): FaultOwner {
  return { name, path, driver, group };
}

/** Firmware may connect a device with several IOMMUs, of which Linux uses one. */
function usedFirst(found: readonly Connected[]): readonly Connected[] {
  const used = found.filter(({ link }) => link.used !== false);
  return used.length > 0 ? used : found;
}

/** A bus has for itself, or for all that is on it, what has no input. */
function hasId({ device, link: { ids } }: Connected, id: number): boolean {
  return ids.some((range) => {
    if (device.isBus && range.input !== undefined) return false;
    if (range.input === undefined && range.rest?.[0] !== undefined) return matches(range, range.rest[0], id);
    return id >= range.first && id - range.first < range.count;
  });
}

/** Bits of an SMMUv2's mask do not count (arm-smmu.c, arm_smmu_of_xlate). */
function matches({ first }: IdRange, mask: number, id: number): boolean {
  return ((first ^ id) & ~mask & 0xffff) === 0;
}

/** The function of a bus whose ID a map makes this ID; the bus itself where it is not PCI's, or not all bits of an ID count. */
function onBus({ device: bus, link }: Connected, id: number): readonly FaultOwner[] {
  if (!bus.isBus) return [];
  const { ids, mask = 0xffff } = link;
  return ids.flatMap(({ first, count, input }) => {
    if (input === undefined || id < first || id - first >= count) return [];
    const requesterId = input + id - first;
    if (!isPci(bus) || (mask & 0xffff) !== 0xffff || requesterId > 0xffff) return [ownerOf({ device: bus })];
    return [{ name: functionName(bus, requesterId), path: undefined, driver: undefined, group: undefined }];
  });
}

/** A host of a device tree says so by its names only; segments of an IORT and hosts with a number have a domain. */
function isPci({ domain, name, compatible }: TopologyDevice): boolean {
  return domain !== undefined || [name, ...compatible].some((each) => /pci/i.test(each));
}

/** Where firmware leaves it to the kernel to number the hosts, the host's own name has to tell. */
function functionName({ domain, name }: TopologyDevice, requesterId: number): string {
  const full = pciDeviceName(domain ?? 0, requesterId);
  return domain === undefined ? `${full.slice(full.indexOf(":") + 1)} of ${name}` : full;
}

function unique(owners: readonly FaultOwner[]): readonly FaultOwner[] {
  return owners.filter(({ name }, index) => owners.findIndex((each) => each.name === name) === index);
}

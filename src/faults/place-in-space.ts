import { hex, type Iova, type IovaRange } from "../iova.js";
import type { IoAddressSpace } from "../space/io-address-space.js";
import type { Mapping } from "../space/mapping.js";
import type { Access } from "../vfio/container.js";
import type { Device } from "../vfio/device.js";
import type { IommuFault } from "./fault.js";
import type { NamedFault } from "./fault-origin.js";

/** What {@link explainFault} asks a space: an {@link IoAddressSpace}, which is not changed. */
export type FaultSpace = Pick<IoAddressSpace, "closed" | "interfaces" | "mappings"> &
  Partial<Pick<IoAddressSpace, "recentlyUnmapped">> & {
    interface(name: string): Pick<Device, "name" | "iommu">;
  };

/** A mapping that does not have a fault's address. */
export interface NearMapping {
  readonly mapping: Mapping;
  /** Bytes between them: 0 where the address is the first that is no longer, or the last that is not yet, in the mapping. */
  readonly distance: bigint;
}

/** Where a fault is in a space, as the space is now: it may have been another when the fault came. */
export interface FaultPlace {
  /** The interface of the space that it was; undefined where that cannot be told, or it was none. */
  readonly interface: string | undefined;
  /**
   * How sure that is. `log`: the kernel named it. `topology`: firmware says that the ID is its. `stream`: as {@link FaultDevice.from}.
   * `iommu`: the space has no other interface behind the IOMMU that the log names, though other devices may be there. Undefined
   * without an interface.
   */
  readonly interfaceFrom: "log" | "stream" | "topology" | "iommu" | undefined;
  /** That interface's IOMMU, as in `/sys/class/iommu`. */
  readonly iommu: string | undefined;
  /** The mapping that has the address. */
  readonly mapping: Mapping | undefined;
  /** What the interface may do with {@link mapping}; undefined also where the mapping is limited to others. */
  readonly access: Access | undefined;
  /** Whether that covers what the device tried; undefined where there is no mapping, or the log does not tell. */
  readonly allowed: boolean | undefined;
  /** A mapping that had the address and has ended lately, the last of them; undefined where one has it now. */
  readonly unmapped: IovaRange | undefined;
  /** The nearest mappings below and above an address that no mapping has. */
  readonly before: NearMapping | undefined;
  readonly after: NearMapping | undefined;
  /** All that in words. */
  readonly text: string;
}

/** Compares a fault with what a space has mapped. @internal */
export function placeInSpace(fault: NamedFault, space: FaultSpace): FaultPlace {
  const from = ownerOf(fault, space);
  const place = { interface: from?.name, interfaceFrom: from?.interfaceFrom, iommu: from?.iommu, ...NOWHERE };
  if (from === undefined && isForeign(fault, space)) return { ...place, text: foreign(fault, space) };
  const { address } = fault;
  if (address === undefined) return { ...place, text: "the log has no address for it" };
  const last = address + BigInt(fault.addressUnit) - 1n;
  const mapping = space.mappings.find((each) => each.iova <= last && endOf(each) > address);
  if (mapping === undefined) {
    const unmapped = space.recentlyUnmapped?.findLast(({ start, end }) => start <= last && end >= address);
    return { ...place, ...neighbours(address, space.mappings, unmapped) };
  }
  const access = from === undefined ? undefined : mapping.accessOf(from.name);
  const allowed = from === undefined ? undefined : covers(access, fault.access);
  return { ...place, mapping, access, allowed, text: inside(mapping, { owner: from, access, allowed, fault }) };
}

const NOWHERE = {
  mapping: undefined,
  access: undefined,
  allowed: undefined,
  unmapped: undefined,
  before: undefined,
  after: undefined,
};

type Interface = Pick<Device, "name" | "iommu">;
type Owner = Interface & Pick<FaultPlace, "interfaceFrom">;

/** By its name, or as the one behind the IOMMU that the log names. A guessed name alone counts only if the space has it. */
function ownerOf({ device, iommu }: NamedFault, space: FaultSpace): Owner | undefined {
  const present = interfacesOf(space);
  const named = present.find(({ name }) => name === device?.name);
  if (device !== undefined && device.from !== "stream") return owner(named, device.from);
  const behind = present.filter((each) => iommu !== undefined && isSameIommu(iommu, each.iommu) === true);
  if (named !== undefined && (behind.length === 0 || behind.includes(named))) return owner(named, "stream");
  return behind.length === 1 ? owner(behind[0], "iommu") : undefined;
}

function owner(found: Interface | undefined, interfaceFrom: Owner["interfaceFrom"]): Owner | undefined {
  return found === undefined ? undefined : { name: found.name, iommu: found.iommu, interfaceFrom };
}

function interfacesOf(space: FaultSpace): readonly Interface[] {
  return space.closed ? [] : space.interfaces.map((name) => space.interface(name));
}

/** Whether it is known to be none of the space's. */
function isForeign({ device, iommu }: NamedFault, space: FaultSpace): boolean {
  if (device !== undefined && device.from !== "stream") return true;
  const present = interfacesOf(space);
  return iommu !== undefined && present.every((each) => isSameIommu(iommu, each.iommu) === false);
}

function foreign({ device, iommu }: NamedFault, { interfaces }: FaultSpace): string {
  const who = device !== undefined && device.from !== "stream" ? device.name : `what is behind ${iommu}`;
  return `${who} is no interface of this space, which has ${interfaces.join(", ") || "none"}`;
}

/**
 * Whether the log's name of an IOMMU and that in `/sys/class/iommu` mean the same one: both have its address in a device tree
 * machine (`c000000.iommu`, `smmu3.0x000000000c000000`). Undefined where they do not.
 */
function isSameIommu(logged: string, sysfs: string): boolean | undefined {
  if (logged === sysfs) return true;
  const a = /^([0-9a-f]+)\./.exec(logged)?.[1];
  const b = /\.0x([0-9a-f]+)$/.exec(sysfs)?.[1];
  return a === undefined || b === undefined ? undefined : BigInt(`0x${a}`) === BigInt(`0x${b}`);
}

function covers(access: Access | undefined, wanted: IommuFault["access"]): boolean | undefined {
  if (access === undefined) return false;
  return wanted === undefined ? undefined : access === "read-write" || access === wanted;
}

interface Inside {
  readonly owner: Interface | undefined;
  readonly access: Access | undefined;
  readonly allowed: boolean | undefined;
  readonly fault: NamedFault;
}

function inside(mapping: Mapping, { owner, access, allowed, fault }: Inside): string {
  const where = `inside the mapping ${rangeText(mapping)}`;
  if (owner === undefined) return `${where}; which interface it was, the log does not tell`;
  if (access === undefined) {
    return `${where}, which is limited to other interfaces than ${owner.name}: ${owner.iommu} lacks it`;
  }
  const may = `which ${owner.name} may ${access === "read-write" ? "read and write" : access}`;
  if (allowed === false) return `${where}, ${may} only: map it with access "${fault.access}" or "read-write"`;
  return (
    `${where}, ${may}: it was mapped after the fault, or ${owner.iommu} lacks it or has stale tables. ` +
    "space.audit() asks the kernel; where that finds nothing, a small transfer tells"
  );
}

function neighbours(
  address: Iova,
  mappings: readonly Mapping[],
  unmapped: IovaRange | undefined,
): Pick<FaultPlace, "before" | "after" | "unmapped" | "text"> {
  // Ascending by IOVA.
  const below = mappings.findLast((each) => endOf(each) <= address);
  const above = mappings.find((each) => each.iova > address);
  const before = below === undefined ? undefined : { mapping: below, distance: address - endOf(below) };
  const after = above === undefined ? undefined : { mapping: above, distance: above.iova - 1n - address };
  const text = unmapped === undefined ? nearText(before, after) : goneText(unmapped);
  return { before, after, unmapped, text };
}

/** Nearer than any neighbour. */
function goneText({ start, end }: IovaRange): string {
  return (
    `inside ${hex(start)}..${hex(end)}, which was unmapped: the device went on with it, or had not finished. ` +
    "Stop it, or wait until it has finished, before you unmap"
  );
}

function nearText(before: NearMapping | undefined, after: NearMapping | undefined): string {
  const texts = [
    ...(before === undefined ? [] : [{ ...before, text: beyond(before) }]),
    ...(after === undefined ? [] : [{ ...after, text: ahead(after) }]),
  ];
  const [first, second] = texts.sort((a, b) => (a.distance < b.distance ? -1 : a.distance > b.distance ? 1 : 0));
  if (first === undefined) return "nothing is mapped in this space";
  return second === undefined ? first.text : `${first.text}, ${second.text}`;
}

function beyond({ mapping, distance }: NearMapping): string {
  const range = rangeText(mapping);
  return distance === 0n
    ? `right beyond the end of the mapping ${range}`
    : `${hex(distance)} bytes beyond the end of the mapping ${range}`;
}

function ahead({ mapping, distance }: NearMapping): string {
  return `${hex(distance + 1n)} bytes before the start of the mapping ${rangeText(mapping)}`;
}

/** The first address that is not in it. */
function endOf({ iova, size }: Mapping): bigint {
  return iova + BigInt(size);
}

function rangeText(mapping: Mapping): string {
  return `${hex(mapping.iova)}..${hex(endOf(mapping) - 1n)}`;
}

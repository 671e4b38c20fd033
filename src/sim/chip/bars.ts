import { deviceTreeError } from "../../devicetree/device-tree-error.js";
import type { PciDescription } from "../linux/description.js";
import type { PciHost } from "./pci-hosts.js";
import type { PhysicalRange } from "./physical-range.js";

/** BARs have 32 bits. */
const END = 2 ** 32;

/** Addresses from `start` on, `end` not among them. */
interface Gap {
  readonly start: number;
  readonly end: number;
}

/** Physical addresses of BARs by number, by their function's kernel name. */
export type BarPlaces = ReadonlyMap<string, ReadonlyMap<number, number>>;

/**
 * Gives the BARs of a host's functions their places in its windows, each on a multiple of its size. The largest come first,
 * as in Linux (drivers/pci/setup-bus.c, pdev_sort_resources), so that none is lost to alignment.
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` when there is no room for one
 */
export function placeBars(host: PciHost, functions: readonly PciDescription[]): BarPlaces {
  const gaps = gapsOf(host.windows);
  const places = new Map<string, Map<number, number>>();
  const bars = functions.flatMap(({ name, model }) => (model.pci?.bars ?? []).map((bar) => ({ ...bar, name })));
  for (const { name, index, size } of bars.toSorted((a, b) => b.size - a.size)) {
    const own = places.get(name) ?? new Map<number, number>();
    places.set(name, own.set(index, take(gaps, size) ?? noRoom(host, size, `BAR ${index} of ${name}`)));
  }
  return places;
}

function gapsOf(windows: readonly PhysicalRange[]): Gap[] {
  return windows
    .map(({ start, size }) => ({ start, end: Math.min(start + size, END) }))
    .filter(({ start, end }) => start < end);
}

function take(gaps: Gap[], size: number): number | undefined {
  for (const [index, { start, end }] of gaps.entries()) {
    const address = Math.ceil(start / size) * size;
    if (address + size > end) continue;
    gaps.splice(index, 1, { start, end: address }, { start: address + size, end });
    return address;
  }
  return undefined;
}

function noRoom({ node, windows }: PciHost, size: number, bar: string): never {
  const below = gapsOf(windows).map(({ start, end }) => `0x${start.toString(16)} to 0x${end.toString(16)}`);
  const problem = `no room for ${bar}, 0x${size.toString(16)} bytes, in its windows below 4 GiB (ranges)`;
  const hint = "give ranges a row of memory, <0x02000000 …>, with room for it and physical addresses below 4 GiB";
  throw deviceTreeError(node.path, `${problem}: ${below.join(", ") || "it has none"}`, hint);
}

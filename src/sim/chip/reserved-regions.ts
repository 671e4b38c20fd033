import type { TreeNode } from "../../devicetree/node.js";
import type { Property } from "../../devicetree/property.js";
import type { ReservedDescription, ReservedType } from "../linux/description.js";

interface IovaWindow {
  readonly device: TreeNode;
  readonly address: bigint;
  readonly size: bigint;
}

/** PCI's addresses have 64 bits and a cell before them that says which space they are in. */
const ADDRESS_BITS = 64;
const LAST_ADDRESS = BigInt(Number.MAX_SAFE_INTEGER);

/**
 * I/O virtual addresses that a device keeps for itself: `iommu-addresses` of the nodes in its `memory-region`
 * (drivers/iommu/of_iommu.c, of_iommu_get_resv_regions).
 */
export function reservedRegions(device: TreeNode): readonly ReservedDescription[] {
  const regions = device.property("memory-region")?.targets ?? [];
  return regions.flatMap((region) => {
    const property = region.property("iommu-addresses");
    const windows = property === undefined ? [] : readWindows(property);
    const own = windows.filter((window) => window.device === device);
    return own.map((window) => description(region, property, window));
  });
}

/** A list of phandles, each with an address and a size as wide as on the bus of the node that it names. */
function readWindows(property: Property): readonly IovaWindow[] {
  const { cells } = property;
  const windows: IovaWindow[] = [];
  for (let at = 0; at < cells.length; ) {
    const device = property.node.tree.byPhandle(cells[at] ?? 0);
    const bus = device?.parent;
    if (device === undefined || bus === undefined) return property.fail("does not begin with the phandle of a device");
    const end = at + 1 + bus.addressCells + bus.sizeCells;
    if (end > cells.length) return property.fail(`ends within the address and size for ${device.path}`);
    const address = wide(cells.slice(at + 1, at + 1 + bus.addressCells));
    const size = wide(cells.slice(at + 1 + bus.addressCells, end));
    windows.push({ device, address: BigInt.asUintN(ADDRESS_BITS, address), size });
    at = end;
  }
  return windows;
}

function description(region: TreeNode, property: Property | undefined, window: IovaWindow): ReservedDescription {
  const last = window.address + window.size - 1n;
  if (window.size === 0n) property?.fail(`has a size of 0 for ${window.device.path}`);
  if (last > LAST_ADDRESS) property?.fail(`reaches to 0x${last.toString(16)}, and simulated windows end below 2^53`);
  return { start: Number(window.address), end: Number(last), type: typeOf(region, window) };
}

/** iommu_resv_region_get_type: memory that is to stay where it is, or just addresses. */
function typeOf(region: TreeNode, { address, size }: IovaWindow): ReservedType {
  const [memory] = region.cpuAddresses;
  return memory?.address === address && memory.size === size ? "direct" : "reserved";
}

function wide(cells: readonly number[]): bigint {
  return cells.reduce((value, cell) => (value << 32n) | BigInt(cell), 0n);
}

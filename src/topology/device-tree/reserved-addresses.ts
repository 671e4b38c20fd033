import { dmaToRoot } from "../../devicetree/address.js";
import type { TreeNode } from "../../devicetree/node.js";
import type { ReservedRegion } from "../../machine/machine.js";

/**
 * I/O virtual addresses that firmware keeps for a device: `iommu-addresses` of the nodes that its `memory-region` names,
 * rows of the device's phandle and a range in the cells of the bus the device is on, whose `dma-ranges` count
 * (drivers/iommu/of_iommu.c, of_iommu_get_resv_regions; drivers/of/address.c, of_translate_dma_region).
 */
export function reservedAddresses(device: TreeNode): readonly ReservedRegion[] {
  const regions = device.property("memory-region")?.cells.flatMap((each) => device.tree.byPhandle(each) ?? []) ?? [];
  return regions.flatMap((region) => rowsFor(device, region));
}

function rowsFor(device: TreeNode, region: TreeNode): readonly ReservedRegion[] {
  const { cells } = region.property("iommu-addresses") ?? { cells: [] };
  const [physical] = region.cpuAddresses;
  const found: ReservedRegion[] = [];
  for (let at = 0; at < cells.length; ) {
    const owner = device.tree.byPhandle(cells[at] ?? 0);
    const bus = owner?.parent;
    // The width of the row is the owner's, so that nothing behind an unknown one can be read.
    if (owner === undefined || bus === undefined) break;
    const [address, size] = [bus.addressCells, bus.sizeCells];
    const start = owner === device ? dmaToRoot(bus, wide(cells.slice(at + 1, at + 1 + address))) : undefined;
    const length = wide(cells.slice(at + 1 + address, at + 1 + address + size));
    if (start !== undefined && length > 0n) {
      // The kernel keeps a range one to one only where the memory behind it has the same address.
      const direct = physical?.address === start && physical.size === length;
      found.push({ start, end: start + length - 1n, type: direct ? "direct" : "reserved" });
    }
    at += 1 + address + size;
  }
  return found;
}

function wide(cells: readonly number[]): bigint {
  return cells.reduce((value, cell) => (value << 32n) | BigInt(cell), 0n);
}

import type { TreeNode } from "../../devicetree/node.js";
import type { Property } from "../../devicetree/property.js";
import type { DeviceTree } from "../../devicetree/tree.js";
import type { IommuEntry } from "./iommu-entries.js";

/**
 * The oldest binding of SMMUs, `mmu-masters` on the SMMU itself: masters by phandle, each followed by as many IDs as its
 * `#stream-id-cells` says (drivers/iommu/arm/arm-smmu/arm-smmu.c, arm_smmu_register_legacy_master). A list counts up to the
 * first entry that cannot be followed.
 */
export function legacyMasters(tree: DeviceTree): ReadonlyMap<TreeNode, readonly IommuEntry[]> {
  const masters = new Map<TreeNode, IommuEntry[]>();
  for (const iommu of tree.nodes()) {
    const property = iommu.property("mmu-masters");
    if (property !== undefined) addMasters(property, masters);
  }
  return masters;
}

function addMasters({ node: iommu, cells }: Property, masters: Map<TreeNode, IommuEntry[]>): void {
  for (let at = 0; at < cells.length; ) {
    const master = iommu.tree.byPhandle(cells[at] ?? 0);
    const count = master?.property("#stream-id-cells")?.cell;
    if (master === undefined || count === undefined || at + count >= cells.length) return;
    const ids = cells.slice(at + 1, at + 1 + count);
    masters.set(master, [...(masters.get(master) ?? []), ...ids.map((id) => ({ iommu, args: [id] }))]);
    at += 1 + count;
  }
}

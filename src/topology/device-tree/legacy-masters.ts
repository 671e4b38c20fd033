import type { TreeNode } from "../../devicetree/node.js";
import type { DeviceTree } from "../../devicetree/tree.js";
import type { IommuEntry } from "./iommu-entries.js";

/**
 * The oldest binding of SMMUs, `mmu-masters` on the SMMU itself: masters by phandle, each followed by as many IDs as its
 * `#stream-id-cells` says (drivers/iommu/arm/arm-smmu/arm-smmu.c, arm_smmu_register_legacy_master).
 */
export function legacyMasters(tree: DeviceTree): ReadonlyMap<TreeNode, readonly IommuEntry[]> {
  const masters = new Map<TreeNode, IommuEntry[]>();
  for (const iommu of tree.nodes()) {
    const property = iommu.property("mmu-masters");
    for (const { node, args } of property?.references("#stream-id-cells") ?? []) {
      const entries = masters.get(node) ?? [];
      entries.push(...args.map((id) => ({ iommu, args: [id] })));
      masters.set(node, entries);
    }
  }
  return masters;
}

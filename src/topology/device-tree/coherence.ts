import type { TreeNode } from "../../devicetree/node.js";
import type { DeviceTree } from "../../devicetree/tree.js";
import { IospanError } from "../../errors.js";

/**
 * Whether the DMA of a device, or the table walks of an IOMMU, see the processor's caches: what the nearest `dma-coherent` or
 * `dma-noncoherent` says on the way that DMA takes up the tree (drivers/of/address.c, of_dma_is_coherent). SMMU drivers ask
 * for the same, and let it win over the SMMU's own ID register (arm-smmu-v3.c and arm-smmu.c, arm_smmu_device_dt_probe).
 * @param otherwise what holds where the tree does not say, see {@link isCoherentByDefault}
 */
export function isCoherent(node: TreeNode, otherwise: boolean): boolean {
  const seen = new Set<TreeNode>();
  for (let each: TreeNode | undefined = node; each !== undefined && !seen.has(each); each = dmaParent(each)) {
    if (each.has("dma-coherent")) return true;
    if (each.has("dma-noncoherent")) return false;
    seen.add(each);
  }
  return otherwise;
}

/** Arm's machines are not coherent unless told so; RISC-V's are (arch/riscv/Kconfig, ARCH_DMA_DEFAULT_COHERENT). */
export function isCoherentByDefault({ root }: DeviceTree): boolean {
  return root.child("cpus")?.children.some((cpu) => cpu.isCompatible("riscv")) ?? false;
}

/** Mostly the parent; where `interconnects` has one called `dma-mem`, that one (drivers/of/address.c, __of_get_dma_parent). */
function dmaParent(node: TreeNode): TreeNode | undefined {
  try {
    const index = node.property("interconnect-names")?.texts.indexOf("dma-mem") ?? -1;
    const target = index < 0 ? undefined : node.property("interconnects")?.references("#interconnect-cells")[index];
    return target?.node ?? node.parent;
  } catch (error) {
    // Linux takes the parent where it cannot follow the list.
    if (error instanceof IospanError) return node.parent;
    throw error;
  }
}

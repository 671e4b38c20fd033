import type { TreeNode } from "../../devicetree/node.js";

/** `9030000.dma-port` for `dma-port@9030000`: the address as the CPU sees it (drivers/of/device.c, of_device_make_bus_id). */
export function platformName(node: TreeNode): string {
  const parts: string[] = [];
  for (const each of node.ancestry()) {
    if (each.parent === undefined) break;
    const address = cpuAddress(each);
    if (address !== undefined) return [`${address.toString(16)}.${each.baseName}`, ...parts].join(":");
    parts.unshift(each.name);
  }
  return parts.join(":") || node.path;
}

/** Undefined where the CPU does not reach it, or `reg` is no list of ranges. */
function cpuAddress(node: TreeNode): bigint | undefined {
  try {
    return node.cpuAddresses[0]?.address;
  } catch {
    return undefined;
  }
}

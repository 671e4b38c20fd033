import type { TreeNode } from "../../devicetree/node.js";

/** Buses whose children Linux makes devices of (drivers/of/platform.c, of_default_bus_match_table). */
const BUSES: readonly string[] = ["simple-bus", "simple-mfd", "isa", "arm,amba-bus"];

/** `9030000.dma-port` for `dma-port@9030000`: the address as the CPU sees it (drivers/of/platform.c, of_device_make_bus_id). */
export function platformName(node: TreeNode): string {
  const [range] = node.cpuAddresses;
  if (range !== undefined) return `${range.address.toString(16)}.${node.baseName}`;
  const { parent } = node;
  return parent?.parent === undefined ? node.name : `${platformName(parent)}:${node.name}`;
}

/** The nodes that Linux makes platform devices of: on the root or a simple bus, compatible with something, enabled. */
export function* platformNodes(bus: TreeNode): Generator<TreeNode, undefined> {
  for (const node of bus.children) {
    if (!node.isEnabled || node.compatible.length === 0) continue;
    yield node;
    if (BUSES.some((name) => node.isCompatible(name))) yield* platformNodes(node);
  }
}

import type { TreeNode } from "../../devicetree/node.js";
import type { LinkDescription } from "../linux/description.js";

/** `iospan,bandwidth-kBps`, in bytes per second. */
export function bandwidthOf(node: TreeNode): number | undefined {
  const property = node.property("iospan,bandwidth-kBps");
  if (property === undefined) return undefined;
  const bandwidth = Number(property.u64) * 1000;
  return bandwidth > 0 ? bandwidth : property.fail("is 0", "leave it out for no limit");
}

/** A property in nanoseconds. */
export function nanosecondsOf(node: TreeNode, name: string): number | undefined {
  return node.property(name)?.cell;
}

/** How fast a device reaches memory; undefined where nothing is said. */
export function linkOf(node: TreeNode): LinkDescription | undefined {
  const bandwidth = bandwidthOf(node);
  const latency = nanosecondsOf(node, "iospan,latency-ns");
  if (bandwidth === undefined && latency === undefined) return undefined;
  return { bandwidth: bandwidth ?? Number.POSITIVE_INFINITY, latency: latency ?? 0 };
}

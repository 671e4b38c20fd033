import type { TreeNode } from "../../devicetree/node.js";

/** What a node is compatible with; nothing where that is no text, since no driver of Linux matches it then. */
export function compatibleOf(node: TreeNode): readonly string[] {
  return node.property("compatible")?.bytes.at(-1) === 0 ? node.compatible : [];
}

import type { TreeNode } from "../../devicetree/node.js";

/** Whether Linux makes use of a node, and what stands against it. */
export interface Availability {
  readonly enabled: boolean;
  readonly disabledBecause: string | undefined;
}

/** A node counts only where it and all above are `okay` (drivers/of/base.c, __of_device_is_available). */
export function availability(node: TreeNode): Availability {
  for (const each of node.ancestry()) {
    const status = each.property("status");
    // An empty status is not okay either; libfdt and Linux read it alike.
    const text = status === undefined ? "okay" : (status.texts[0] ?? "");
    if (text === "okay" || text === "ok") continue;
    const where = each === node ? "its status" : `the status of ${each.path}`;
    return { enabled: false, disabledBecause: `${where} is ${text === "" ? "empty" : text}` };
  }
  return { enabled: true, disabledBecause: undefined };
}

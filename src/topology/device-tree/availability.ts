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
    const text = status === undefined ? "okay" : firstText(status.bytes);
    if (text === "okay" || text === "ok") continue;
    const where = each === node ? "its status" : `the status of ${each.path}`;
    return { enabled: false, disabledBecause: `${where} is ${text === undefined ? "malformed" : text || "empty"}` };
  }
  return { enabled: true, disabledBecause: undefined };
}

/** What comes before the first NUL is what Linux compares, and where there is none nothing is okay. */
function firstText(bytes: Uint8Array): string | undefined {
  const end = bytes.indexOf(0);
  if (bytes.length === 0) return "";
  return end < 0 ? undefined : new TextDecoder().decode(bytes.subarray(0, end));
}

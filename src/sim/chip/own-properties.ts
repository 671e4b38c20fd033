import { deviceTreeError } from "../../devicetree/device-tree-error.js";
import type { TreeNode } from "../../devicetree/node.js";
import type { DeviceTree } from "../../devicetree/tree.js";

const PREFIX = "iospan,";

/** Properties of ours, by the kind of node that they say something about. */
const known = {
  memory: ["bandwidth-kBps", "walk-latency-ns"],
  smmu: [
    "granules-kib",
    "stage",
    "output-bits",
    "input-bits",
    "stream-id-bits",
    "no-range-invalidation",
    "tlb-entries",
    "httu",
  ],
  device: ["engine", "vfio-reset", "msi-vectors", "physical-function", "bandwidth-kBps", "latency-ns"],
} as const;

const kindNames = { memory: "a memory node", smmu: "an SMMU", device: "a device" } as const;

/**
 * A property of ours that nobody reads would be a machine that is silently another one.
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` for a name that does not exist, or not for this kind of node.
 */
export function checkOwnProperties(tree: DeviceTree): void {
  for (const node of tree.nodes()) {
    for (const name of node.properties.keys()) if (name.startsWith(PREFIX)) checkName(node, name);
  }
}

function checkName(node: TreeNode, property: string): void {
  const kind = kindOf(node);
  const names: readonly string[] = known[kind];
  if (names.includes(property.slice(PREFIX.length))) return;
  throw deviceTreeError(
    node.path,
    `${property} is no property of ${kindNames[kind]}`,
    `it can have ${names.map((name) => `${PREFIX}${name}`).join(", ")}`,
  );
}

function kindOf(node: TreeNode): keyof typeof known {
  if (node.property("device_type")?.text === "memory") return "memory";
  return node.isCompatible("arm,smmu-v3") ? "smmu" : "device";
}

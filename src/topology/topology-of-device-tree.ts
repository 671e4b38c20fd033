import { readDeviceTree } from "../devicetree/device-tree.js";
import { topologyOfTree } from "./device-tree/topology-of-tree.js";
import type { Topology } from "./topology.js";

/**
 * What a device tree, source or blob, says of IOMMUs and of what is behind them: which of several IOMMUs of a device Linux
 * will use, what is disabled and why, and the IDs. It cannot tell groups or drivers.
 * @param name what the source is called in the result, usually the file.
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` for what is no device tree. A node that is malformed becomes a finding.
 */
export function topologyOfDeviceTree(content: string | Uint8Array, name = "device tree"): Topology {
  return topologyOfTree(readDeviceTree(content), name);
}

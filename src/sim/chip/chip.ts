import type { TreeNode } from "../../devicetree/node.js";
import type { DeviceTree } from "../../devicetree/tree.js";
import type { DeviceDescription, InterconnectDescription, MemoryDescription } from "../linux/description.js";
import { AddressMap } from "./address-map.js";
import { DeviceModels, type UserDevices } from "./device-models.js";
import { chipMemory } from "./memory.js";
import { checkOwnProperties } from "./own-properties.js";
import { pciDevices } from "./pci-devices.js";
import { pciHosts } from "./pci-hosts.js";
import { platformDevices } from "./platform-devices.js";
import { type ChipSmmu, chipSmmus } from "./smmus.js";
import { Streams } from "./streams.js";

/** A device and the node that describes it. */
export interface ChipDevice {
  readonly node: TreeNode;
  readonly description: DeviceDescription;
}

/** What a device tree says about a machine. */
export interface Chip {
  readonly tree: DeviceTree;
  readonly smmus: readonly ChipSmmu[];
  /** PCI functions, host by host, then platform devices. */
  readonly devices: readonly ChipDevice[];
  readonly memory: readonly MemoryDescription[];
  readonly interconnect: InterconnectDescription;
}

/**
 * Reads a machine out of its device tree.
 * @param devices models of the user's, which go before the built-in ones
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` for what is not or cannot be simulated, with the node's path.
 */
export function readChip(tree: DeviceTree, devices: UserDevices = {}): Chip {
  const addresses = new AddressMap();
  const smmus = chipSmmus(tree, addresses);
  checkOwnProperties(tree);
  const { banks, interconnect } = chipMemory(tree, addresses);
  const streams = new Streams(smmus);
  const models = new DeviceModels(tree, devices);
  const functions = pciHosts(tree.root, addresses).flatMap((host) => pciDevices(host, streams, models));
  const platform = platformDevices(tree.root, { streams, models, addresses });
  addresses.check();
  models.checkAllUsed();
  return { tree, smmus, devices: [...functions, ...platform], memory: banks, interconnect };
}

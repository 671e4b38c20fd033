import type { TreeNode } from "../../devicetree/node.js";
import type { Property } from "../../devicetree/property.js";
import type { DeviceTree } from "../../devicetree/tree.js";
import { IospanError } from "../../errors.js";
import type { DeviceFactory, DeviceKind } from "../hw/device-model.js";
import { type DualPathEngineKinds, dualPathEngine } from "../hw/dual-path-engine/dual-path-engine.js";
import { edu } from "../hw/edu.js";

/** Devices of the user's, by what their nodes are compatible with. */
export type UserDevices = Readonly<Record<string, DeviceFactory | DeviceKind>>;

const ENGINE_FUNCTION = "pci1234,d9e1";
const ENGINE_PORT = "iospan,dual-path-dma-port";
const BUILT_IN: Readonly<Record<string, () => DeviceKind>> = {
  "pci1234,11e8": edu,
  "iospan,edu": edu,
};

/** Knows which simulated device a node gets. */
export class DeviceModels {
  readonly #devices: UserDevices;
  /** Names of the user's devices that a node got. */
  readonly #used = new Set<string>();
  /** Engines by each of their nodes. */
  readonly #engines = new Map<TreeNode, DualPathEngineKinds>();

  /** @throws IospanError `ERR_IOSPAN_DEVICE_TREE` for an `iospan,engine` that does not tie a port to a function. */
  constructor(tree: DeviceTree, devices: UserDevices) {
    for (const [name, device] of Object.entries(devices)) checkDevice(name, device);
    this.#devices = devices;
    for (const node of tree.nodes()) {
      const property = node.property("iospan,engine");
      if (property !== undefined && node.isEnabled) this.#tie(node, property);
    }
  }

  /** What a node gets; undefined for one that nothing is known about. A factory is the user's. */
  modelOf(node: TreeNode): DeviceFactory | DeviceKind | undefined {
    for (const name of node.compatible) {
      const own = Object.hasOwn(this.#devices, name) ? this.#devices[name] : undefined;
      if (own !== undefined) {
        this.#used.add(name);
        return own;
      }
      if (name === ENGINE_FUNCTION) return this.#engineOf(node).function;
      if (name === ENGINE_PORT) return this.#engineOf(node).port;
      const builtIn = Object.hasOwn(BUILT_IN, name) ? BUILT_IN[name] : undefined;
      if (builtIn !== undefined) return builtIn();
    }
    return undefined;
  }

  /** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` when a device of the user's is nowhere in the machine. */
  checkAllUsed(): void {
    const unused = Object.keys(this.#devices).filter((name) => !this.#used.has(name));
    if (unused.length === 0) return;
    const names = unused.map((name) => JSON.stringify(name)).join(", ");
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `devices: no device of the chip is compatible with ${names}`, {
      hint: "write it into the `compatible` of an enabled node that has `iommus`, or is a function of a PCIe host",
    });
  }

  #engineOf(node: TreeNode): DualPathEngineKinds {
    const engine = this.#engines.get(node) ?? dualPathEngine();
    this.#engines.set(node, engine);
    return engine;
  }

  #tie(port: TreeNode, property: Property): void {
    const { target } = property;
    if (!port.isCompatible(ENGINE_PORT)) property.fail(`belongs to nodes that are compatible with ${ENGINE_PORT}`);
    if (!target.isCompatible(ENGINE_FUNCTION)) {
      property.fail(`refers to ${target.path}, which is not compatible with ${ENGINE_FUNCTION}`);
    }
    if (this.#engines.has(target)) property.fail(`refers to ${target.path}, which has a port already`);
    this.#engines.set(port, this.#engineOf(target));
  }
}

function checkDevice(name: string, device: unknown): void {
  const isKind = typeof device === "object" && device !== null && "create" in device;
  // A class is a function, too, but one that cannot be called.
  const isFactory = typeof device === "function" && !/^class\b/.test(Function.prototype.toString.call(device));
  if (isFactory || (isKind && typeof device.create === "function")) return;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `devices: ${JSON.stringify(name)} is not what makes a device`, {
    hint: "give a function that takes the host and returns the device, or simulatedDevice(…) of one",
  });
}

/** The node that stands for the physical device of an interface: what `iospan,engine` names, or the node itself. */
export function physicalDevice(node: TreeNode): TreeNode {
  return node.property("iospan,engine")?.target ?? node;
}

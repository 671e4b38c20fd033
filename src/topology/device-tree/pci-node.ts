import type { TreeNode } from "../../devicetree/node.js";

const PCI_CELLS = 3;
const CONFIGURATION_SHIFT = 64n;

/** A PCI function that a tree has a node for. */
export interface PciNode {
  /** The host bridge above. */
  readonly host: TreeNode;
  /** Undefined where the tree leaves the bus number to enumeration. */
  readonly requesterId: number | undefined;
}

/** Undefined for a node that is no PCI function. */
export function pciNode(node: TreeNode): PciNode | undefined {
  const { parent } = node;
  if (parent === undefined || !isPci(parent) || !node.has("reg")) return undefined;
  const host = hostOf(parent);
  const address = node.reg[0]?.address;
  return { host, requesterId: address === undefined ? undefined : requesterId(parent, host, address) };
}

/** Hosts and bridges. */
export function isPci(node: TreeNode): boolean {
  return node.property("device_type")?.texts[0] === "pci" && node.addressCells === PCI_CELLS;
}

/** The outermost of the PCI nodes above. */
function hostOf(bus: TreeNode): TreeNode {
  const { parent } = bus;
  return parent !== undefined && isPci(parent) ? hostOf(parent) : bus;
}

/** Bus numbers in `reg` are 0 where firmware has given none; then `bus-range` tells, or nobody. */
function requesterId(bus: TreeNode, host: TreeNode, address: bigint): number | undefined {
  const high = Number(address >> CONFIGURATION_SHIFT);
  const written = (high >>> 16) & 0xff;
  const number = written !== 0 ? written : (bus.property("bus-range")?.cells[0] ?? (bus === host ? 0 : undefined));
  return number === undefined ? undefined : (number << 8) | ((high >>> 8) & 0xff);
}

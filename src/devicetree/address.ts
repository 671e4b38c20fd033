import type { TreeNode } from "./node.js";

/** What an address on a PCI bus begins with (IEEE 1275 PCI bus binding 2.2.1.1): configuration, I/O or memory space. */
const PCI_SPACE = 0x03n << 88n;
const PCI_CONFIGURATION = 0n;
const PCI_IO = 0x01n << 88n;
const OFFSET_BITS = 64;
const PCI_ADDRESS_CELLS = 3;

/**
 * The CPU's address for one on a bus.
 * @param bus the node whose children have such addresses
 * @returns undefined where some bus on the way up has no `ranges`, or none that holds the address
 */
export function toRoot(bus: TreeNode, address: bigint): bigint | undefined {
  return translated(bus, address, "ranges");
}

/**
 * The address at the root for one that a device on a bus uses for DMA. A bus without `dma-ranges` leaves it as it is, as in
 * Linux (drivers/of/address.c, of_translate_one).
 * @returns undefined where some bus on the way up has `dma-ranges`, but none that holds the address
 */
export function dmaToRoot(bus: TreeNode, address: bigint): bigint | undefined {
  return translated(bus, address, "dma-ranges");
}

function translated(bus: TreeNode, address: bigint, name: "ranges" | "dma-ranges"): bigint | undefined {
  let current: bigint | undefined = address;
  for (const node of bus.ancestry()) {
    if (node.parent === undefined || current === undefined) break;
    const isPlain = name === "dma-ranges" && !node.has(name);
    if (!isPlain) current = toParent(node, node.parent, current, name);
  }
  return current;
}

/** One step: from a bus to the one it is on. */
function toParent(bus: TreeNode, parent: TreeNode, address: bigint, name: "ranges" | "dma-ranges"): bigint | undefined {
  const ranges = bus.property(name);
  if (ranges === undefined) return undefined;
  if (ranges.bytes.length === 0) return address;
  const isPci = bus.addressCells === PCI_ADDRESS_CELLS;
  for (const [from = 0n, to = 0n, size = 0n] of ranges.rows([bus.addressCells, parent.addressCells, bus.sizeCells])) {
    const offset = isPci ? pciOffset(from, address) : address - from;
    if (offset !== undefined && offset >= 0n && offset < size) return to + offset;
  }
  return undefined;
}

/** How far an address is into a range, if it is in the same space; memory of 32 and of 64 bits is one space. */
function pciOffset(from: bigint, address: bigint): bigint | undefined {
  const space = address & PCI_SPACE;
  if (space === PCI_CONFIGURATION) return undefined;
  if ((space === PCI_IO) !== ((from & PCI_SPACE) === PCI_IO)) return undefined;
  return BigInt.asUintN(OFFSET_BITS, address) - BigInt.asUintN(OFFSET_BITS, from);
}

import { deviceTreeError } from "../../devicetree/device-tree-error.js";
import type { AddressRange, TreeNode } from "../../devicetree/node.js";

/** A range of physical addresses. */
export interface PhysicalRange {
  readonly start: number;
  readonly size: number;
}

/** No SMMUv3 puts out more (Arm IHI 0070, IDR5.OAS). */
const ADDRESS_BITS = 52;

/**
 * The node's `reg`, as the CPU sees it.
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` for ranges that are empty, that the CPU does not reach or that end behind 2^52.
 */
export function physicalRanges(node: TreeNode): readonly PhysicalRange[] {
  return node.cpuAddresses.map((range) => {
    if (range === undefined) return node.required("reg").fail("is not covered by the ranges of the buses above");
    return physicalRange(node, "reg", range);
  });
}

/** A range that a property of the node gives. */
export function physicalRange(node: TreeNode, property: string, { address, size }: AddressRange): PhysicalRange {
  if (size === 0n) throw deviceTreeError(node.path, `${property} has a range of size 0`, `correct ${property}`);
  if (address + size > 1n << BigInt(ADDRESS_BITS)) {
    const range = `0x${address.toString(16)} to 0x${(address + size).toString(16)}`;
    throw deviceTreeError(
      node.path,
      `${property} has ${range}, which exceeds ${ADDRESS_BITS} bits`,
      `correct ${property}`,
    );
  }
  return { start: Number(address), size: Number(size) };
}

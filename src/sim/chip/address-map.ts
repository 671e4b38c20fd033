import { deviceTreeError } from "../../devicetree/device-tree-error.js";
import type { TreeNode } from "../../devicetree/node.js";
import type { PhysicalRange } from "./physical-range.js";

interface Claim extends PhysicalRange {
  readonly node: TreeNode;
  readonly what: string;
}

/** Who answers at which physical address. */
export class AddressMap {
  readonly #claims: Claim[] = [];

  /** @param what memory, registers, … */
  claim(node: TreeNode, what: string, ranges: readonly PhysicalRange[]): void {
    for (const { start, size } of ranges) this.#claims.push({ node, what, start, size });
  }

  /** @throws IospanError `ERR_IOSPAN_DEVICE_TREE` for the first address that is claimed twice. */
  check(): void {
    const sorted = this.#claims.toSorted((a, b) => a.start - b.start);
    for (const [index, claim] of sorted.entries()) {
      const next = sorted[index + 1];
      if (next !== undefined && next.start < claim.start + claim.size) throw overlap(claim, next);
    }
  }
}

function overlap(first: Claim, second: Claim): Error {
  const address = `0x${second.start.toString(16)}`;
  const problem = `its ${second.what} at ${address} lie where ${first.what} of ${first.node.path} are`;
  return deviceTreeError(second.node.path, problem, "give each its own physical addresses");
}

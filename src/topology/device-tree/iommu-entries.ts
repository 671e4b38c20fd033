import type { TreeNode } from "../../devicetree/node.js";
import type { Property } from "../../devicetree/property.js";

/** An entry of `iommus`: an IOMMU and what IDs the device has at it. */
export interface IommuEntry {
  readonly iommu: TreeNode;
  readonly args: readonly number[];
}

/** What `iommus` says, up to where it cannot be read any further. */
export interface IommuEntries {
  readonly entries: readonly IommuEntry[];
  /** Why reading ended before the end. */
  readonly problem: string | undefined;
}

/**
 * Reads `iommus` as Linux does, which stops at the first entry that it cannot follow and keeps those before
 * (drivers/iommu/of_iommu.c, of_iommu_configure_dev). How many cells an entry has is up to its target.
 */
export function iommuEntries(property: Property): IommuEntries {
  const { node, cells } = property;
  const entries: IommuEntry[] = [];
  for (let at = 0; at < cells.length; ) {
    const phandle = cells[at] ?? 0;
    const iommu = node.tree.byPhandle(phandle);
    const count = iommu?.property("#iommu-cells")?.cell;
    const problem = problemOf({ phandle, iommu, count, left: cells.length - at - 1 });
    if (problem !== undefined || iommu === undefined || count === undefined) return { entries, problem };
    entries.push({ iommu, args: cells.slice(at + 1, at + 1 + count) });
    at += 1 + count;
  }
  return { entries, problem: undefined };
}

interface Candidate {
  readonly phandle: number;
  readonly iommu: TreeNode | undefined;
  readonly count: number | undefined;
  /** Cells behind the phandle. */
  readonly left: number;
}

function problemOf({ phandle, iommu, count, left }: Candidate): string | undefined {
  if (phandle === 0) return "has an empty entry (phandle 0)";
  if (iommu === undefined) return `refers to phandle 0x${phandle.toString(16)}, which no node has`;
  if (count === undefined) return `refers to ${iommu.path}, which has no #iommu-cells`;
  return left < count ? `ends after ${left} of the ${count} cells that follow ${iommu.path}` : undefined;
}

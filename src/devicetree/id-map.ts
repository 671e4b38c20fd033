import type { TreeNode } from "./node.js";
import type { Property } from "./property.js";

/** A row of an {@link IdMap}: IDs from `first` on become those from `output` on. */
export interface IdMapEntry {
  readonly first: number;
  readonly length: number;
  readonly target: TreeNode;
  readonly output: number;
  /** Cells behind the ID, for targets whose IDs have more than one. */
  readonly rest: readonly number[];
}

/** What an ID becomes. */
export interface MappedId {
  readonly target: TreeNode;
  readonly id: number;
  readonly rest: readonly number[];
}

/**
 * `iommu-map` or `msi-map`: what the IDs of devices on a bus (requester IDs on PCI) are to the IOMMU or interrupt
 * controller (Linux's bindings pci-iommu.yaml and pci-msi.yaml).
 */
export class IdMap {
  readonly entries: readonly IdMapEntry[];
  /** The bits of an ID that count, `iommu-map-mask`. */
  readonly mask: number;

  /** @throws IospanError `ERR_IOSPAN_DEVICE_TREE` */
  constructor(property: Property, cellsName: "#iommu-cells" | "#msi-cells") {
    this.entries = readEntries(property, cellsName);
    this.mask = property.node.property(`${property.name}-mask`)?.cell ?? 0xffff_ffff;
  }

  /** Undefined for an ID that no row covers. */
  lookUp(id: number): MappedId | undefined {
    const masked = (id & this.mask) >>> 0;
    const entry = this.entries.find(({ first, length }) => masked >= first && masked - first < length);
    return entry && { target: entry.target, id: entry.output + masked - entry.first, rest: entry.rest };
  }
}

/** The node's `iommu-map`, if it has one. */
export function iommuMap(node: TreeNode): IdMap | undefined {
  const property = node.property("iommu-map");
  return property && new IdMap(property, "#iommu-cells");
}

/** The node's `msi-map`, if it has one. */
export function msiMap(node: TreeNode): IdMap | undefined {
  const property = node.property("msi-map");
  return property && new IdMap(property, "#msi-cells");
}

/**
 * A row is the first ID, a phandle, an output of as many cells as the target's IDs have, and a length. Before targets with
 * two cells were provided for, rows always had four cells; such maps are still around.
 */
function readEntries(property: Property, cellsName: string): readonly IdMapEntry[] {
  const outputCells = (target: TreeNode) => Math.max(1, target.property(cellsName)?.cell ?? 1);
  const isIommu = (target: TreeNode) => cellsName === "#msi-cells" || target.has(cellsName);
  const entries = split(property, isIommu, outputCells) ?? split(property, isIommu, () => 1);
  return entries ?? property.fail(`is no list of rows (ID, phandle of a node with ${cellsName}, output, length)`);
}

/** Undefined where some row has no such target, or the last one is cut off. */
function split(
  { node, cells }: Property,
  isTarget: (node: TreeNode) => boolean,
  outputCells: (target: TreeNode) => number,
): readonly IdMapEntry[] | undefined {
  const entries: IdMapEntry[] = [];
  for (let at = 0; at < cells.length; ) {
    const [first = 0, phandle = 0, output = 0] = cells.slice(at, at + 3);
    const target = node.tree.byPhandle(phandle);
    if (target === undefined || !isTarget(target)) return undefined;
    const width = 3 + outputCells(target);
    if (at + width > cells.length) return undefined;
    const rest = cells.slice(at + 3, at + width - 1);
    entries.push({ first, length: cells[at + width - 1] ?? 0, target, output, rest });
    at += width;
  }
  return entries;
}

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

/** Properties in which targets say how many cells their IDs have. */
type CellsName = "#iommu-cells" | "#msi-cells";

/**
 * `iommu-map` or `msi-map`: what the IDs of devices on a bus (requester IDs on PCI) are to the IOMMU or interrupt
 * controller (Linux's bindings pci-iommu.yaml and pci-msi.yaml). Read as Linux does, row by row up to the first one that
 * cannot be followed (drivers/of/base.c, of_map_id).
 */
export class IdMap {
  readonly entries: readonly IdMapEntry[];
  /** The bits of an ID that count, `iommu-map-mask`. */
  readonly mask: number;
  /** The first thing that is wrong with a row. */
  readonly problem: string | undefined;

  constructor(property: Property, cellsName: CellsName) {
    const { entries, problem } = readEntries(property, cellsName);
    this.entries = entries;
    this.problem = problem;
    this.mask = property.node.property(`${property.name}-mask`)?.cell ?? 0xffff_ffff;
  }

  /** Undefined for an ID that no row covers, and for one whose row Linux refuses. */
  lookUp(id: number): MappedId | undefined {
    const masked = (id & this.mask) >>> 0;
    for (const entry of this.entries) {
      const { first, length, target, output, rest } = entry;
      // Linux looks no further than a row that the mask makes senseless.
      if (!this.#isInMask(entry)) return undefined;
      if (masked < first || masked - first >= length) continue;
      return isRange(entry) ? undefined : { target, id: output + masked - first, rest };
    }
    return undefined;
  }

  /** The rows that map something: before the first one outside the mask, with IDs, and with no range of wide IDs. */
  get usable(): readonly IdMapEntry[] {
    const end = this.entries.findIndex((entry) => !this.#isInMask(entry));
    const sound = end < 0 ? this.entries : this.entries.slice(0, end);
    return sound.filter((entry) => entry.length > 0 && !isRange(entry));
  }

  #isInMask({ first }: IdMapEntry): boolean {
    return (first & ~this.mask) === 0;
  }
}

/** How a range could become IDs of several cells is not told; Linux refuses it. */
function isRange({ length, rest }: IdMapEntry): boolean {
  return length > 1 && rest.length > 0;
}

/**
 * The node's `iommu-map`, if it has one.
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` where a row cannot be followed
 */
export function iommuMap(node: TreeNode): IdMap | undefined {
  return strictMap(node.property("iommu-map"), "#iommu-cells");
}

/**
 * The node's `msi-map`, if it has one.
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` where a row cannot be followed
 */
export function msiMap(node: TreeNode): IdMap | undefined {
  return strictMap(node.property("msi-map"), "#msi-cells");
}

function strictMap(property: Property | undefined, cellsName: CellsName): IdMap | undefined {
  if (property === undefined) return undefined;
  const map = new IdMap(property, cellsName);
  if (map.problem !== undefined) property.fail(`is no list of rows (ID, phandle, output, length): it ${map.problem}`);
  return map;
}

interface Rows {
  readonly entries: readonly IdMapEntry[];
  readonly problem: string | undefined;
}

/** A row is the first ID, a phandle, an output of as many cells as the target's IDs have, and a length. */
function readEntries({ node, cells }: Property, cellsName: CellsName): Rows {
  const entries: IdMapEntry[] = [];
  const isOld = isOldStyle(cells, cellsOf(node.tree.byPhandle(cells[1] ?? 0), cellsName));
  let problem: string | undefined;
  for (let at = 0; at < cells.length; ) {
    const [first = 0, phandle = 0] = cells.slice(at, at + 2);
    const target = node.tree.byPhandle(phandle);
    if (at + 2 > cells.length) return { entries, problem: cutOff(entries.length) };
    if (target === undefined)
      return { entries, problem: `refers to phandle 0x${phandle.toString(16)}, which no node has` };
    if (cellsName === "#iommu-cells" && !target.has(cellsName)) {
      problem ??= `refers to ${target.path}, which has no ${cellsName}`;
    }
    const end = at + 3 + (isOld ? 1 : (cellsOf(target, cellsName) ?? 1));
    if (end > cells.length) return { entries, problem: cutOff(entries.length) };
    const [output = 0, ...rest] = cells.slice(at + 2, end - 1);
    entries.push({ first, length: cells[end - 1] ?? 0, target, output, rest });
    at = end;
  }
  return { entries, problem };
}

function cellsOf(target: TreeNode | undefined, cellsName: CellsName): number | undefined {
  return target?.property(cellsName)?.cell;
}

function cutOff(rows: number): string {
  return `ends within row ${rows + 1}`;
}

/**
 * Before targets with two cells were provided for, rows always had four cells; such maps are still around. Linux takes for
 * one where all rows lead to one such target and map one ID each (drivers/of/base.c, of_check_bad_map).
 */
function isOldStyle(cells: readonly number[], idCells: number | undefined): boolean {
  if (idCells !== 2 || cells.length % 4 !== 0) return false;
  return cells.every((cell, at) => at % 4 !== 3 || (cell === 1 && cells[at - 2] === cells[1]));
}

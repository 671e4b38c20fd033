import { readDeviceTree } from "../src/devicetree/device-tree.js";
import { type IdMap, iommuMap } from "../src/devicetree/id-map.js";
import type { TreeNode } from "../src/devicetree/node.js";
import type { DeviceTree } from "../src/devicetree/tree.js";
import { type IommuEntries, iommuEntries } from "../src/topology/device-tree/iommu-entries.js";
import { type FlatTree, readFlatTree } from "./independent/flat-tree.js";

/** A device that names IOMMUs. */
export interface Master {
  readonly node: TreeNode;
  /** Its `iommus`. */
  readonly listed: IommuEntries;
  /** Its `iommu-map`. */
  readonly map: IdMap | undefined;
  /** The IOMMUs of `iommus`, each once, then those of `iommu-map`. */
  readonly own: readonly TreeNode[];
  readonly mapped: readonly TreeNode[];
}

/** The device tree of one board, and the nodes of it that the totals are about. */
export interface Board {
  /** Folder of the vendor and file: `nvidia/tegra234-p3768-0000+p3767-0005`. */
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly tree: DeviceTree;
  /** The same, read a second time. */
  readonly flat: FlatTree;
  readonly nodes: readonly TreeNode[];
  /** Nodes with `#iommu-cells`. */
  readonly iommus: readonly TreeNode[];
  /** Nodes with `iommus` or `iommu-map`. */
  readonly masters: readonly Master[];
}

/** @throws IospanError `ERR_IOSPAN_DEVICE_TREE` for what cannot be read. */
export function readBoard(name: string, bytes: Uint8Array): Board {
  const tree = readDeviceTree(bytes);
  const nodes = [...tree.nodes()];
  const iommus = nodes.filter((node) => node.has("#iommu-cells"));
  const masters = nodes.filter((node) => node.has("iommus") || node.has("iommu-map")).map(masterOf);
  return { name, bytes, tree, flat: readFlatTree(bytes), nodes, iommus, masters };
}

function masterOf(node: TreeNode): Master {
  const iommus = node.property("iommus");
  const listed = iommus === undefined ? { entries: [], problem: undefined } : iommuEntries(iommus);
  const map = iommuMap(node);
  const own = [...new Set(listed.entries.map(({ iommu }) => iommu))];
  const mapped = [...new Set(map?.entries.map(({ target }) => target))];
  return { node, listed, map, own, mapped };
}

/** How many cells an ID at the IOMMU has. */
export function idCells(iommu: TreeNode): number {
  return iommu.required("#iommu-cells").cell;
}

export function isPciHost({ node }: Master): boolean {
  return node.property("device_type")?.texts[0] === "pci";
}

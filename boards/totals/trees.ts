import type { Property } from "../../src/devicetree/property.js";
import type { Board } from "../board.js";
import { allNodes, phandlesOf } from "../independent/flat-tree.js";
import type { Total } from "./total.js";

const VERSION_AT = 20;
const TOTAL_SIZE_AT = 4;

/** The rest of a tree, as far as a reader can stumble over it; and what no real tree has, so that it needs made-up ones. */
export const treeTotals: readonly Total[] = [
  { what: "boards with iommu-addresses", expected: 3, of: (board) => hasProperty(board, "iommu-addresses") },
  { what: "boards with __symbols__", expected: 581, of: ({ tree }) => tree.root.child("__symbols__") !== undefined },
  { what: "boards whose root has addresses of 1 cell", expected: 50, of: ({ tree }) => tree.root.addressCells === 1 },
  {
    what: "boards with reserved memory without reg",
    expected: 627,
    of: ({ tree }) => tree.root.child("reserved-memory")?.children.some((node) => !node.has("reg")) === true,
  },
  { what: "boards with an alias for what is off", expected: 1081, of: hasAliasForDisabled },
  {
    what: "boards with dma-ranges that say something",
    expected: 847,
    of: (board) => all(board, "dma-ranges").some(({ bytes }) => bytes.length > 0),
  },
  {
    what: "boards with dma-ranges that are empty",
    expected: 195,
    of: (board) => all(board, "dma-ranges").some(({ bytes }) => bytes.length === 0),
  },
  { what: "boards with dma-coherent", expected: 422, of: (board) => hasProperty(board, "dma-coherent") },
  {
    what: "boards with iommus that cannot be followed, as with phandle 0",
    expected: 0,
    of: ({ masters }) => masters.some(({ listed }) => listed.problem !== undefined),
  },
  { what: "boards with linux,phandle", expected: 0, of: (board) => hasProperty(board, "linux,phandle") },
  { what: "boards with mmu-masters", expected: 0, of: (board) => hasProperty(board, "mmu-masters") },
  { what: "boards with a phandle twice", expected: 0, of: hasPhandleTwice },
  { what: "blobs with a NOP", expected: 0, of: ({ flat }) => flat.nops > 0 },
  { what: "blobs of a version other than 17", expected: 0, of: ({ bytes }) => word(bytes, VERSION_AT) !== 17 },
  {
    what: "blobs with bytes behind their end",
    expected: 0,
    of: ({ bytes }) => word(bytes, TOTAL_SIZE_AT) !== bytes.length,
  },
];

function all({ nodes }: Board, name: string): readonly Property[] {
  return nodes.flatMap((node) => node.property(name) ?? []);
}

function hasProperty(board: Board, name: string): boolean {
  return all(board, name).length > 0;
}

function hasAliasForDisabled({ tree }: Board): boolean {
  const aliases = [...(tree.root.child("aliases")?.properties.values() ?? [])];
  return aliases.some(({ text }) => tree.find(text)?.isEnabled === false);
}

/** Ours refuses such a tree; this asks the other reader. */
function hasPhandleTwice({ flat }: Board): boolean {
  const phandles = allNodes(flat.root).flatMap(phandlesOf);
  return new Set(phandles).size < phandles.length;
}

function word(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(at);
}

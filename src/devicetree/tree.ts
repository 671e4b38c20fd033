import { fullPaths } from "./aliases.js";
import { deviceTreeError } from "./device-tree-error.js";
import { TreeNode } from "./node.js";
import type { MemoryReservation, RawTree } from "./raw-tree.js";

/** Phandles that name nothing (libfdt, fdt_find_max_phandle). */
const INVALID_PHANDLES: readonly number[] = [0, 0xffff_ffff];

/**
 * A device tree, whole and consistent: no phandle is there twice and no alias leads back to itself.
 * What a single property should be is checked when it is read.
 */
export class DeviceTree {
  readonly root: TreeNode;
  readonly reservations: readonly MemoryReservation[];
  readonly bootCpu: number;
  readonly #phandles = new Map<number, TreeNode>();
  readonly #labels = new Map<string, TreeNode>();
  readonly #aliases: ReadonlyMap<string, string | undefined>;

  /** @throws IospanError `ERR_IOSPAN_DEVICE_TREE` for an invalid or repeated phandle and for aliases that go in circles. */
  constructor({ root, reservations, bootCpu }: RawTree) {
    this.root = new TreeNode(this, undefined, root);
    this.reservations = reservations;
    this.bootCpu = bootCpu;
    for (const node of this.nodes()) this.#register(node);
    this.#aliases = fullPaths(this.root.child("aliases"));
  }

  /** Every node, each before its children. */
  nodes(): Iterable<TreeNode> {
    return this.root.subtree();
  }

  /**
   * The node of a path, `/soc/iommu@c000000`, or of a path that begins with an alias, `pcie0/dma@0,0`.
   * Names must be complete; undefined where there is no such node.
   */
  find(path: string): TreeNode | undefined {
    const full = this.#fullPath(path);
    if (full === undefined) return undefined;
    const names = full.split("/").filter((name) => name !== "");
    return names.reduce<TreeNode | undefined>((node, name) => node?.child(name), this.root);
  }

  /** The node that a property of `/aliases` names. */
  alias(name: string): TreeNode | undefined {
    return name.includes("/") ? undefined : this.find(name);
  }

  byPhandle(phandle: number): TreeNode | undefined {
    return this.#phandles.get(phandle);
  }

  /** By label: the source's, or those that `dtc -@` keeps in `/__symbols__`. */
  byLabel(label: string): TreeNode | undefined {
    const symbol = this.root.child("__symbols__")?.property(label);
    return this.#labels.get(label) ?? (symbol && this.find(symbol.text));
  }

  /** Nodes that are `compatible` with it, disabled ones among them. */
  byCompatible(name: string): readonly TreeNode[] {
    return [...this.nodes()].filter((node) => node.isCompatible(name));
  }

  #register(node: TreeNode): void {
    for (const label of node.labels) this.#labels.set(label, node);
    const { phandle } = node;
    if (phandle === undefined) return;
    const other = this.#phandles.get(phandle);
    if (INVALID_PHANDLES.includes(phandle)) {
      throw deviceTreeError(node.path, `0x${phandle.toString(16)} is not valid as a phandle`, "take another number");
    }
    if (node.has("phandle") && node.has("linux,phandle") && node.required("linux,phandle").cell !== phandle) {
      throw deviceTreeError(node.path, "phandle and linux,phandle differ", "leave linux,phandle out");
    }
    if (other !== undefined) {
      const problem = `has phandle 0x${phandle.toString(16)}, which is ${other.path}'s already`;
      throw deviceTreeError(node.path, problem, "give one of them another phandle, or let dtc choose");
    }
    this.#phandles.set(phandle, node);
  }

  /** With what an alias at the beginning stands for (libfdt, fdt_path_offset). */
  #fullPath(path: string): string | undefined {
    if (path.startsWith("/")) return path;
    const [first = "", ...rest] = path.split("/");
    const start = this.#aliases.get(first);
    return start === undefined ? undefined : [start, ...rest].join("/");
  }
}

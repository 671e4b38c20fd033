import { toRoot } from "./address.js";
import { deviceTreeError } from "./device-tree-error.js";
import { Property } from "./property.js";
import type { RawNode } from "./raw-tree.js";
import type { DeviceTree } from "./tree.js";

/** A range of addresses on a node's bus. */
export interface AddressRange {
  readonly address: bigint;
  readonly size: bigint;
}

/** What a node without these properties has for its children (Devicetree Specification 2.3.5). */
const DEFAULT_ADDRESS_CELLS = 2;
const DEFAULT_SIZE_CELLS = 1;
/** Wider than PCI's addresses none are. */
const MAX_CELLS = 4;

/** A node of a {@link DeviceTree}. */
export class TreeNode {
  readonly tree: DeviceTree;
  readonly parent: TreeNode | undefined;
  /** With the unit address: `iommu@c000000`; empty for the root. */
  readonly name: string;
  /** `/soc/iommu@c000000`; what identifies a node. */
  readonly path: string;
  readonly properties: ReadonlyMap<string, Property>;
  readonly children: readonly TreeNode[];
  /** Labels in the source. */
  readonly labels: readonly string[];

  constructor(tree: DeviceTree, parent: TreeNode | undefined, raw: RawNode) {
    this.tree = tree;
    this.parent = parent;
    this.name = raw.name;
    this.path = parent === undefined ? "/" : `${parent.parent === undefined ? "" : parent.path}/${raw.name}`;
    this.labels = raw.labels ?? [];
    this.properties = new Map(
      Array.from(raw.properties, ([name, bytes]) => [name, new Property(this, name, bytes)] as const),
    );
    this.children = raw.children.map((child) => new TreeNode(tree, this, child));
  }

  /** The name without its unit address: `iommu`. */
  get baseName(): string {
    return this.name.split("@", 1)[0] ?? "";
  }

  /** What follows the `@`. */
  get unitAddress(): string | undefined {
    const at = this.name.indexOf("@");
    return at < 0 ? undefined : this.name.slice(at + 1);
  }

  has(name: string): boolean {
    return this.properties.has(name);
  }

  property(name: string): Property | undefined {
    return this.properties.get(name);
  }

  /** @throws IospanError `ERR_IOSPAN_DEVICE_TREE` when the node has no such property. */
  required(name: string): Property {
    const hint = `give the node ${name}`;
    const property = this.property(name);
    if (property === undefined) throw deviceTreeError(this.path, `${name} is missing`, hint);
    return property;
  }

  /** The property of this node or, where it has none, of the nearest one above that has. */
  inherited(name: string): Property | undefined {
    for (const node of this.ancestry()) {
      const property = node.property(name);
      if (property !== undefined) return property;
    }
    return undefined;
  }

  /** The child of exactly this name. */
  child(name: string): TreeNode | undefined {
    return this.children.find((child) => child.name === name);
  }

  /** This node and those above it, up to the root. */
  *ancestry(): Generator<TreeNode, undefined> {
    for (let node: TreeNode | undefined = this; node !== undefined; node = node.parent) yield node;
  }

  /** This node and all below it, each before its children. */
  *subtree(): Generator<TreeNode, undefined> {
    yield this;
    for (const child of this.children) yield* child.subtree();
  }

  /** Most specific first; empty where the node has none. */
  get compatible(): readonly string[] {
    return this.property("compatible")?.texts ?? [];
  }

  isCompatible(name: string): boolean {
    return this.compatible.includes(name);
  }

  /** `okay`, `disabled`, `reserved`, `fail`, `fail-…`; empty is not okay, and of several the first counts, as for Linux. */
  get status(): string {
    const property = this.property("status");
    const status = property === undefined ? "okay" : (property.texts[0] ?? "");
    return status === "ok" ? "okay" : status;
  }

  /** Whether the node is to be used: neither it nor a node above is anything but `okay`. */
  get isEnabled(): boolean {
    for (const { status } of this.ancestry()) if (status !== "okay") return false;
    return true;
  }

  /** What other nodes refer to it by. */
  get phandle(): number | undefined {
    const name = this.has("phandle") ? "phandle" : "linux,phandle";
    return this.property(name)?.cell;
  }

  /** How many cells an address of a child has. */
  get addressCells(): number {
    return this.#cellCount("#address-cells", DEFAULT_ADDRESS_CELLS);
  }

  /** How many cells the size of a child's range has. */
  get sizeCells(): number {
    return this.#cellCount("#size-cells", DEFAULT_SIZE_CELLS);
  }

  /** `reg`, in the addresses of the bus the node is on; empty where the node has none. */
  get reg(): readonly AddressRange[] {
    const { parent } = this;
    if (parent === undefined) return [];
    const rows = this.property("reg")?.rows([parent.addressCells, parent.sizeCells]) ?? [];
    return rows.map(([address = 0n, size = 0n]) => ({ address, size }));
  }

  /** `reg` as the CPU sees it, through the `ranges` of every bus above; undefined is what the CPU does not reach. */
  get cpuAddresses(): readonly (AddressRange | undefined)[] {
    return this.reg.map(({ address, size }) => {
      const translated = this.parent && toRoot(this.parent, address);
      return translated === undefined ? undefined : { address: translated, size };
    });
  }

  #cellCount(name: string, absent: number): number {
    const property = this.property(name);
    const count = property?.cell ?? absent;
    return count > MAX_CELLS ? (property?.fail(`should be at most ${MAX_CELLS}`) ?? absent) : count;
  }
}

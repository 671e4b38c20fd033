import type { DraftNode } from "./draft.js";

/** What labels stand for. */
export class LabelTable {
  readonly #nodes = new Map<string, DraftNode>();
  /** Labels of properties and of places in their values, which nothing can refer to. */
  readonly #others = new Set<string>();

  /** @returns false when something else has the label. */
  add(label: string, node: DraftNode): boolean {
    const present = this.#nodes.get(label);
    if (this.#others.has(label) || (present !== undefined && present !== node)) return false;
    this.#nodes.set(label, node);
    node.labels.add(label);
    return true;
  }

  /** @returns false when something else has the label. */
  addOther(label: string): boolean {
    if (this.#others.has(label) || this.#nodes.has(label)) return false;
    this.#others.add(label);
    return true;
  }

  /** Forgets the labels of a node that is deleted, and of all below it. */
  remove(node: DraftNode): void {
    for (const { labels } of node.subtree()) for (const label of labels) this.#nodes.delete(label);
  }

  /** The node of `smmu0`, `smmu0/child@1` or `/soc/iommu@c000000`. */
  find(target: string, root: DraftNode | undefined): DraftNode | undefined {
    const [label = "", ...names] = target.split("/");
    const start = label === "" ? root : this.#nodes.get(label);
    return names
      .filter((name) => name !== "")
      .reduce<DraftNode | undefined>((node, name) => node?.children.get(name), start);
  }
}

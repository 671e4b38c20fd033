import type { Place } from "./place.js";

/** Another node, by label or path: `&smmu0`, `&{/soc/iommu@c000000}`. */
export interface NodeReference {
  readonly kind: "phandle" | "path";
  readonly target: string;
  readonly place: Place;
}

/** Bytes, and references that become bytes once all nodes are known. */
export type ValuePart = readonly number[] | NodeReference;

/** A property while its file is read. */
export interface DraftProperty {
  readonly parts: readonly ValuePart[];
  readonly place: Place;
}

/** A node while its file is read; it may be described in several places. */
export class DraftNode {
  readonly name: string;
  readonly parent: DraftNode | undefined;
  readonly children = new Map<string, DraftNode>();
  readonly properties = new Map<string, DraftProperty>();
  readonly labels = new Set<string>();
  /** `/omit-if-no-ref/`. */
  omitIfUnreferenced = false;

  constructor(name: string, parent: DraftNode | undefined) {
    this.name = name;
    this.parent = parent;
  }

  get path(): string {
    if (this.parent === undefined) return "/";
    return `${this.parent.parent === undefined ? "" : this.parent.path}/${this.name}`;
  }

  *subtree(): Generator<DraftNode, undefined> {
    yield this;
    for (const child of this.children.values()) yield* child.subtree();
  }
}

import type { RawNode } from "../raw-tree.js";
import type { DraftNode, DraftProperty, NodeReference } from "./draft.js";
import type { Lexer } from "./lexer.js";
import type { DraftTree } from "./parser.js";

const PHANDLE_NAMES: readonly string[] = ["phandle", "linux,phandle"];

/**
 * Turns references into phandles and paths, gives phandles to nodes that are referred to and have none, as dtc does, and
 * leaves out what `/omit-if-no-ref/` says.
 */
export class Resolver {
  readonly #lexer: Lexer;
  readonly #tree: DraftTree;
  readonly #phandles = new Map<DraftNode, number>();
  readonly #taken = new Set<number>();
  readonly #referenced = new Set<DraftNode>();
  #next = 1;

  constructor(lexer: Lexer, tree: DraftTree) {
    this.#lexer = lexer;
    this.#tree = tree;
  }

  resolve(): RawNode {
    const { root } = this.#tree;
    for (const node of root.subtree()) this.#notePhandle(node);
    for (const node of root.subtree()) this.#visitReferences(node);
    return this.#finish(root);
  }

  #notePhandle(node: DraftNode): void {
    for (const name of PHANDLE_NAMES) {
      const property = node.properties.get(name);
      if (property === undefined) continue;
      const phandle = explicitPhandle(property);
      if (phandle === undefined) this.#lexer.fail(`${name} of ${node.path} is not one number`, property.place);
      this.#phandles.set(node, phandle);
      this.#taken.add(phandle);
    }
  }

  /** In dtc's order, so that its phandles come out. */
  #visitReferences(node: DraftNode): void {
    for (const part of [...node.properties.values()].flatMap(({ parts }) => parts)) {
      if (!("kind" in part)) continue;
      const target = this.#find(node, part);
      this.#referenced.add(target);
      if (part.kind === "phandle") this.#phandleOf(target);
    }
  }

  #find(node: DraftNode, { target, place }: NodeReference): DraftNode {
    const found = this.#tree.labels.find(target, this.#tree.root);
    const hint = "correct the name, or give a node that label";
    return found ?? this.#lexer.fail(`${node.path} refers to &${target}, and there is no such node`, place, hint);
  }

  #phandleOf(node: DraftNode): number {
    const known = this.#phandles.get(node);
    if (known !== undefined) return known;
    while (this.#taken.has(this.#next)) this.#next += 1;
    const phandle = this.#next;
    this.#taken.add(phandle);
    this.#phandles.set(node, phandle);
    return phandle;
  }

  #finish(node: DraftNode): RawNode {
    const properties = new Map(
      Array.from(node.properties, ([name, property]) => [name, this.#bytes(node, property)] as const),
    );
    const phandle = this.#phandles.get(node);
    const hasOwn = PHANDLE_NAMES.some((name) => properties.has(name));
    if (phandle !== undefined && !hasOwn) properties.set("phandle", Uint8Array.from(cell(phandle)));
    const kept = [...node.children.values()].filter(
      (child) => !child.omitIfUnreferenced || this.#referenced.has(child),
    );
    return {
      name: node.name,
      properties,
      children: kept.map((child) => this.#finish(child)),
      labels: [...node.labels],
    };
  }

  #bytes(node: DraftNode, { parts }: DraftProperty): Uint8Array {
    return Uint8Array.from(
      parts.flatMap((part) => {
        if (!("kind" in part)) return part;
        const target = this.#find(node, part);
        if (part.kind === "phandle") return cell(this.#phandleOf(target));
        return [...new TextEncoder().encode(`${target.path}\0`)];
      }),
    );
  }
}

function explicitPhandle({ parts }: DraftProperty): number | undefined {
  const bytes = parts.flatMap((part) => ("kind" in part ? [] : part));
  if (bytes.length !== 4 || parts.some((part) => "kind" in part)) return undefined;
  return bytes.reduce((value, byte) => value * 256 + byte, 0);
}

/** Big-endian. */
function cell(value: number): readonly number[] {
  return [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
}

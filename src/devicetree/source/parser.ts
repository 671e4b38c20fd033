import { MAX_DEPTH, type MemoryReservation } from "../raw-tree.js";
import { DraftNode } from "./draft.js";
import { readInteger } from "./expression.js";
import { LabelTable } from "./label-table.js";
import type { Lexer } from "./lexer.js";
import type { Place } from "./place.js";
import { LABEL, readReference, readValue } from "./value.js";

const NAME = /\\?([\w,.+*#?@-]+)/y;

/** A file as it was read, references unresolved. */
export interface DraftTree {
  readonly root: DraftNode;
  readonly labels: LabelTable;
  readonly reservations: readonly MemoryReservation[];
}

/** What is defined between one pair of braces. Defined again elsewhere it is changed; here it is a mistake. */
interface Body {
  readonly node: DraftNode;
  readonly properties: Set<string>;
  readonly children: Set<string>;
}

/** Reads the grammar of dtc-parser.y. */
export class Parser {
  readonly #lexer: Lexer;
  readonly #labels = new LabelTable();
  readonly #reservations: MemoryReservation[] = [];
  #root: DraftNode | undefined;

  constructor(lexer: Lexer) {
    this.#lexer = lexer;
  }

  parse(): DraftTree {
    this.#readHeader();
    while (!this.#lexer.isAtEnd) this.#readTopLevel();
    const root = this.#root ?? this.#lexer.fail("there is no root node", undefined, "write one: / { };");
    return { root, labels: this.#labels, reservations: this.#reservations };
  }

  #readHeader(): void {
    const lexer = this.#lexer;
    if (!lexer.accept("/dts-v1/")) {
      lexer.unexpected(
        "/dts-v1/; at the beginning",
        "a device tree source begins with it; pass its text, or a blob, and no name of a file",
      );
    }
    lexer.expect(";", "/dts-v1/");
    // Files that are included begin with it, too.
    while (lexer.accept("/dts-v1/")) lexer.expect(";", "/dts-v1/");
    if (lexer.accept("/plugin/")) {
      lexer.fail("an overlay (/plugin/) is no whole tree", undefined, "apply it to a base: fdtoverlay -i base.dtb");
    }
  }

  #readTopLevel(): void {
    const lexer = this.#lexer;
    if (lexer.accept("/delete-node/")) this.#deleteReferenced();
    else if (lexer.accept("/omit-if-no-ref/")) this.#omitReferenced();
    else this.#readLabelled(this.#readLabels());
  }

  /** What may have labels: `/memreserve/ …;`, `/ { };`, `&node { };`. */
  #readLabelled(labels: readonly Label[]): void {
    if (this.#lexer.accept("/memreserve/")) {
      this.#readReservation(labels);
      return;
    }
    const reference = readReference(this.#lexer, "path");
    if (reference === undefined && !this.#lexer.accept("/")) this.#lexer.unexpected("/ { or &label {");
    if (reference === undefined) this.#root ??= new DraftNode("", undefined);
    this.#readBody(this.#find(reference?.target ?? "/", reference?.place), labels);
  }

  #readReservation(labels: readonly Label[]): void {
    for (const { name, place } of labels) this.#addOtherLabel(name, place);
    const number = (what: string) => readInteger(this.#lexer) ?? this.#lexer.unexpected(`the ${what} of /memreserve/`);
    this.#reservations.push({ address: number("address"), size: number("size") });
    this.#lexer.expect(";", "/memreserve/");
  }

  #deleteReferenced(): void {
    const { place } = this.#lexer;
    const target = readReference(this.#lexer, "path") ?? this.#lexer.unexpected("&label");
    const node = this.#find(target.target, place);
    if (node.parent === undefined) this.#lexer.fail("the root cannot be deleted", place);
    this.#delete(node);
    this.#lexer.expect(";", "/delete-node/");
  }

  #omitReferenced(): void {
    const { place } = this.#lexer;
    const target = readReference(this.#lexer, "path") ?? this.#lexer.unexpected("&label");
    this.#find(target.target, place).omitIfUnreferenced = true;
    this.#lexer.expect(";", "/omit-if-no-ref/");
  }

  #find(target: string, place: Place | undefined): DraftNode {
    const node = this.#labels.find(target, this.#root);
    const hint = "label the node before this line, or correct the name";
    return node ?? this.#lexer.fail(`there is no node &${target}`, place, hint);
  }

  /** `{ … };` */
  #readBody(node: DraftNode, labels: readonly Label[]): void {
    const lexer = this.#lexer;
    for (const label of labels) this.#label(label, node);
    const names = node.path.split("/").filter((name) => name !== "");
    const isNested = lexer.depth > 0;
    for (const name of isNested ? [node.name] : ["", ...names]) lexer.enter(name);
    if (names.length >= MAX_DEPTH) lexer.fail(`nodes are nested more than ${MAX_DEPTH} deep`);
    lexer.expect("{", "the name of a node");
    const body = { node, properties: new Set<string>(), children: new Set<string>() };
    while (!lexer.accept("}")) this.#readMember(body);
    lexer.expect(";", "}");
    for (let left = isNested ? 1 : names.length + 1; left > 0; left -= 1) lexer.leave();
  }

  #readMember(body: Body): void {
    if (this.#lexer.accept("/delete-node/")) this.#deleteChild(body);
    else if (this.#lexer.accept("/delete-property/")) this.#deleteProperty(body);
    else this.#readNamed(body, this.#lexer.accept("/omit-if-no-ref/"));
  }

  #readNamed(body: Body, omit: boolean): void {
    const labels = this.#readLabels();
    const { place } = this.#lexer;
    const name = this.#readName();
    if (this.#lexer.isNext("{")) {
      this.#readChild(body, name, { place, labels, omit });
      return;
    }
    if (omit) this.#lexer.unexpected("{ after /omit-if-no-ref/ and a name");
    for (const label of labels) this.#addOtherLabel(label.name, label.place);
    this.#readProperty(body, name, place);
  }

  #readProperty({ node, properties, children }: Body, name: string, place: Place): void {
    const lexer = this.#lexer;
    if (children.size > 0) lexer.fail(`${name} comes behind a node: properties come first`, place);
    if (properties.has(name)) lexer.fail(`${name} is there twice`, place);
    properties.add(name);
    const parts = lexer.accept("=") ? readValue(lexer, this.#labels) : [];
    node.properties.set(name, { parts, place });
    lexer.expect(";", `the property ${name}`);
  }

  #readChild(
    { node, children }: Body,
    name: string,
    { place, labels, omit }: { readonly place: Place; readonly labels: readonly Label[]; readonly omit: boolean },
  ): void {
    if (children.has(name)) this.#lexer.fail(`there are two nodes ${name}`, place);
    children.add(name);
    const child = node.children.get(name) ?? new DraftNode(name, node);
    node.children.set(name, child);
    if (omit) child.omitIfUnreferenced = true;
    this.#readBody(child, labels);
  }

  #deleteChild({ node, children }: Body): void {
    const name = this.#readName();
    const child = node.children.get(name);
    if (child !== undefined) this.#delete(child);
    children.delete(name);
    this.#lexer.expect(";", "/delete-node/");
  }

  #delete(node: DraftNode): void {
    this.#labels.remove(node);
    node.parent?.children.delete(node.name);
  }

  #deleteProperty({ node, properties }: Body): void {
    const name = this.#readName();
    node.properties.delete(name);
    properties.delete(name);
    this.#lexer.expect(";", "/delete-property/");
  }

  #readName(): string {
    return this.#lexer.match(NAME)?.[1] ?? this.#lexer.unexpected("the name of a property or node, or }");
  }

  #readLabels(): readonly Label[] {
    const labels: Label[] = [];
    for (;;) {
      const { place } = this.#lexer;
      const [, name] = this.#lexer.match(LABEL) ?? [];
      if (name === undefined) return labels;
      labels.push({ name, place });
    }
  }

  #label({ name, place }: Label, node: DraftNode): void {
    if (!this.#labels.add(name, node)) this.#lexer.fail(`the label ${name} is there twice`, place);
  }

  #addOtherLabel(name: string, place: Place): void {
    if (!this.#labels.addOther(name)) this.#lexer.fail(`the label ${name} is there twice`, place);
  }
}

interface Label {
  readonly name: string;
  readonly place: Place;
}

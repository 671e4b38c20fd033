import type { OpenFile } from "../files/open-file.js";
import { refuse } from "../refusal.js";

/** Names in a directory with what they are; undefined where there is nothing at the moment. */
export type Entries = Readonly<Record<string, Node | undefined>>;

/** A node of the file tree. What can change is a function, so that the tree always shows the kernel as it is. */
export type Node =
  | { readonly kind: "directory"; readonly entries: () => Entries }
  | { readonly kind: "link"; readonly target: string }
  | {
      readonly kind: "file";
      readonly read?: (() => string | Uint8Array) | undefined;
      readonly write?: ((text: string) => void) | undefined;
    }
  | { readonly kind: "device"; readonly open: () => OpenFile };

/** A directory; given as a function it is read anew each time. */
export function directory(entries: Entries | (() => Entries)): Node {
  return { kind: "directory", entries: typeof entries === "function" ? entries : () => entries };
}

/** A symbolic link with this text. */
export function link(target: string): Node {
  return { kind: "link", target };
}

/** A file of one line; sysfs ends each with a line feed. */
export function attribute(read: () => string | number, write?: (text: string) => void): Node {
  return { kind: "file", read: () => `${read()}\n`, write };
}

/** A file that can only be written. */
export function trigger(write: (text: string) => void): Node {
  return { kind: "file", write };
}

/** The text of a write without the line feed that echo adds. */
export function line(text: string): string {
  return text.replace(/\n$/, "");
}

/** A link's text: how to get from a directory to another place, both absolute. */
export function relative(from: string, to: string): string {
  const here = parts(from);
  const there = parts(to);
  let common = 0;
  while (common < here.length && common < there.length && here[common] === there[common]) common++;
  return [...here.slice(common).map(() => ".."), ...there.slice(common)].join("/");
}

function parts(path: string): readonly string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

const MOST_LINKS = 40;

/** Files by path, as the kernel walks them. */
export class FileTree {
  readonly #root: Node;

  constructor(root: Node) {
    this.#root = root;
  }

  /** The node at a path, behind all links. */
  find(path: string): Node {
    return this.#walk(path, true);
  }

  names(path: string): readonly string[] {
    const node = this.find(path);
    if (node.kind !== "directory") refuse("ENOTDIR", path);
    return Object.entries(node.entries())
      .filter(([, entry]) => entry !== undefined)
      .map(([name]) => name)
      .sort();
  }

  read(path: string): Uint8Array {
    const node = this.find(path);
    if (node.kind === "directory") refuse("EISDIR", path);
    if (node.kind !== "file") refuse("EINVAL", path);
    const content = node.read?.() ?? refuse("EACCES", path);
    return typeof content === "string" ? new TextEncoder().encode(content) : content;
  }

  write(path: string, text: string): void {
    const node = this.find(path);
    if (node.kind === "directory") refuse("EISDIR", path);
    if (node.kind !== "file") refuse("EINVAL", path);
    if (node.write === undefined) refuse("EACCES", path);
    node.write(text);
  }

  readLink(path: string): string {
    const node = this.#walk(path, false);
    return node.kind === "link" ? node.target : refuse("EINVAL", path);
  }

  #walk(path: string, followLast: boolean): Node {
    const pending = [...parts(path)];
    const trail: Node[] = [this.#root];
    let links = 0;
    while (pending.length > 0) {
      const name = pending.shift() ?? "";
      if (name === "..") {
        if (trail.length > 1) trail.pop();
        continue;
      }
      const node = child(trail.at(-1) ?? this.#root, name, path);
      if (node.kind !== "link" || (pending.length === 0 && !followLast)) {
        trail.push(node);
        continue;
      }
      if (++links > MOST_LINKS) refuse("ELOOP", path);
      if (node.target.startsWith("/")) trail.length = 1;
      pending.unshift(...parts(node.target));
    }
    return trail.at(-1) ?? this.#root;
  }
}

function child(node: Node, name: string, path: string): Node {
  if (node.kind !== "directory") refuse("ENOTDIR", path);
  const entries = node.entries();
  return (Object.hasOwn(entries, name) ? entries[name] : undefined) ?? refuse("ENOENT", path);
}

import type { IospanError } from "../errors.js";
import { deviceTreeError } from "./device-tree-error.js";
import type { TreeNode } from "./node.js";

/** Properties of `/aliases` that are about the node itself. */
const NO_ALIASES: readonly string[] = ["name", "phandle", "linux,phandle"];

/** An alias that begins with another one, `x = "y/sub"`. */
interface Link {
  readonly next: string;
  /** With its `/`; empty where there is no more. */
  readonly rest: string;
}

/**
 * The path that each alias stands for; undefined for one that begins with what is no alias.
 * @param aliases the node `/aliases`
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` for aliases that go in circles or are no text
 */
export function fullPaths(aliases: TreeNode | undefined): ReadonlyMap<string, string | undefined> {
  const paths = new Map<string, string | undefined>();
  const links = new Map<string, Link>();
  for (const [name, property] of aliases?.properties ?? []) {
    if (NO_ALIASES.includes(name)) continue;
    const { text } = property;
    if (text.startsWith("/")) paths.set(name, text);
    else links.set(name, linkOf(text));
  }
  for (const name of links.keys()) follow(name, links, paths);
  return paths;
}

function linkOf(text: string): Link {
  const end = text.indexOf("/");
  return end < 0 ? { next: text, rest: "" } : { next: text.slice(0, end), rest: text.slice(end) };
}

/** Goes from alias to alias until the path is known, and leaves it with all that were on the way. */
function follow(alias: string, links: ReadonlyMap<string, Link>, paths: Map<string, string | undefined>): void {
  const seen = new Map<string, Link>();
  let name = alias;
  for (let link = links.get(name); link !== undefined && !paths.has(name); link = links.get(name)) {
    if (seen.has(name)) throw circular([...seen.keys()], name);
    seen.set(name, link);
    name = link.next;
  }
  let path = paths.get(name);
  for (const [each, { rest }] of [...seen].reverse()) {
    if (path !== undefined) path += rest;
    paths.set(each, path);
  }
}

function circular(names: readonly string[], again: string): IospanError {
  const circle = [...names.slice(names.indexOf(again)), again];
  const problem = `the alias ${again} leads back to itself (${circle.join(" → ")})`;
  return deviceTreeError("/aliases", problem, "let it name a path");
}

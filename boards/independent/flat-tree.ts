/**
 * A second reader of device tree blobs, written from chapter 5 of the Devicetree Specification alone: it shares nothing with
 * src/devicetree, so that the two can be held to each other. It is for blobs that are in order, and checks little.
 */

/** A node: its properties are bytes, and mean nothing yet. */
export interface FlatNode {
  readonly path: string;
  readonly parent: FlatNode | undefined;
  readonly properties: Map<string, Buffer>;
  readonly children: FlatNode[];
}

/** What a blob holds. */
export interface FlatTree {
  readonly root: FlatNode;
  /** How many tokens in it mean nothing. */
  readonly nops: number;
}

const BEGIN_NODE = 1;
const END_NODE = 2;
const PROP = 3;
const NOP = 4;

export function readFlatTree(bytes: Uint8Array): FlatTree {
  const blob = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (blob.readUInt32BE(0) !== 0xd00dfeed) throw new Error("no device tree blob");
  const strings = blob.subarray(blob.readUInt32BE(12));
  let at = blob.readUInt32BE(8);
  let nops = 0;
  let open: FlatNode | undefined;
  for (;;) {
    const token = blob.readUInt32BE(at);
    at += 4;
    if (token === BEGIN_NODE) {
      const name = terminated(blob, at);
      at += padded(name.length + 1);
      const path = open === undefined ? "/" : `${open.path === "/" ? "" : open.path}/${name}`;
      const node: FlatNode = { path, parent: open, properties: new Map(), children: [] };
      open?.children.push(node);
      open = node;
    } else if (token === PROP && open !== undefined) {
      const length = blob.readUInt32BE(at);
      const name = terminated(strings, blob.readUInt32BE(at + 4));
      open.properties.set(name, blob.subarray(at + 8, at + 8 + length));
      at += 8 + padded(length);
    } else if (token === END_NODE && open !== undefined) {
      if (open.parent === undefined) return { root: open, nops };
      open = open.parent;
    } else if (token === NOP) {
      nops++;
    } else {
      throw new Error(`token ${token} at byte ${at - 4}`);
    }
  }
}

/** The node and all below it. */
export function allNodes(node: FlatNode): FlatNode[] {
  return [node, ...node.children.flatMap(allNodes)];
}

/** The 32-bit numbers of a property; none where it is absent. */
export function numbers(node: FlatNode, property: string): number[] {
  const bytes = node.properties.get(property) ?? Buffer.alloc(0);
  return Array.from({ length: Math.floor(bytes.length / 4) }, (_, index) => bytes.readUInt32BE(4 * index));
}

/** What others refer to a node by: one number, or none. */
export function phandlesOf(node: FlatNode): number[] {
  return [...numbers(node, "phandle"), ...numbers(node, "linux,phandle")].slice(0, 1);
}

/** The strings of a property; none where it is absent. */
export function strings(node: FlatNode, property: string): string[] {
  const text = node.properties.get(property)?.toString("latin1") ?? "";
  return text === "" ? [] : text.replace(/\0$/, "").split("\0");
}

function terminated(bytes: Buffer, start: number): string {
  return bytes.toString("latin1", start, bytes.indexOf(0, start));
}

function padded(length: number): number {
  return Math.ceil(length / 4) * 4;
}

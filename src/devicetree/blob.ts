import { aligned, RESERVATION_SIZE, TOKEN } from "./blob-format.js";
import { type BlobHeader, type Block, blobError, readHeader } from "./blob-header.js";
import { MAX_DEPTH, type MemoryReservation, NAME_PATTERN, type RawNode } from "./raw-tree.js";
import { DeviceTree } from "./tree.js";

/**
 * Reads a device tree blob (`.dtb`) of version 16 or 17. Bytes behind its end are ignored; its properties are views of `bytes`.
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` for anything malformed, with the offset or the node's path.
 */
export function decodeBlob(bytes: Uint8Array): DeviceTree {
  const header = readHeader(bytes);
  return new DeviceTree({
    root: new StructureReader(bytes, header).root(),
    reservations: readReservations(bytes, header.reservations),
    bootCpu: header.bootCpu,
  });
}

function readReservations(bytes: Uint8Array, { start, end }: Block): readonly MemoryReservation[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found: MemoryReservation[] = [];
  for (let at = start; ; at += RESERVATION_SIZE) {
    if (at + RESERVATION_SIZE > end) throw blobError(start, "the memory reservations have no end");
    const [address, size] = [view.getBigUint64(at), view.getBigUint64(at + 8)];
    if (address === 0n && size === 0n) return found;
    found.push({ address, size });
  }
}

interface OpenNode {
  readonly name: string;
  readonly properties: Map<string, Uint8Array>;
  readonly children: Map<string, RawNode>;
}

/** Reads the structure block, token by token. */
class StructureReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #end: number;
  readonly #strings: StringBlock;
  #at: number;

  constructor(bytes: Uint8Array, { structure, strings }: BlobHeader) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#at = structure.start;
    this.#end = structure.end;
    this.#strings = new StringBlock(bytes, strings);
  }

  root(): RawNode {
    const start = this.#at;
    if (this.#token() !== TOKEN.BEGIN_NODE) throw blobError(start, "the structure block does not begin with a node");
    const root = this.#node();
    if (root.name !== "") throw blobError(start, `the root has a name: ${root.name}`);
    const end = this.#at;
    if (this.#token() !== TOKEN.END) throw blobError(end, "the structure block goes on behind the root");
    return root;
  }

  /** A node whose beginning was read, to its end. Nested ones are kept on a stack of our own. */
  #node(): RawNode {
    const open: OpenNode[] = [this.#begin()];
    for (;;) {
      const at = this.#at;
      const token = this.#token();
      const node = open.at(-1);
      if (node === undefined) throw blobError(at, "the structure block goes on behind the root");
      if (token === TOKEN.BEGIN_NODE) {
        if (open.length >= MAX_DEPTH) throw blobError(at, `nodes are nested more than ${MAX_DEPTH} deep`);
        open.push(this.#begin());
      } else if (token === TOKEN.PROP) {
        this.#property(node, at, open);
      } else if (token === TOKEN.END_NODE) {
        const closed = { ...node, children: [...node.children.values()] };
        open.pop();
        if (open.length === 0) return closed;
        this.#adopt(closed, at, open);
      } else {
        throw blobError(at, token === TOKEN.END ? `${pathOf(open)} has no end` : `${token} is no token`);
      }
    }
  }

  /** The next token that means something. */
  #token(): number {
    for (;;) {
      const token = this.#u32();
      if (token !== TOKEN.NOP) return token;
    }
  }

  #begin(): OpenNode {
    const start = this.#at;
    const end = this.#bytes.indexOf(0, start);
    if (end < 0 || end >= this.#end) throw blobError(start, "a node's name has no end");
    this.#at = aligned(end + 1);
    return { name: text(this.#bytes, start, end), properties: new Map(), children: new Map() };
  }

  #adopt(child: RawNode, at: number, open: readonly OpenNode[]): void {
    const parent = open.at(-1);
    if (!NAME_PATTERN.test(child.name)) {
      throw blobError(at, `${JSON.stringify(child.name)} in ${pathOf(open)} is no name of a node`);
    }
    if (parent?.children.has(child.name)) throw blobError(at, `${pathOf(open)} has two nodes ${child.name}`);
    parent?.children.set(child.name, child);
  }

  #property(node: OpenNode, at: number, open: readonly OpenNode[]): void {
    const length = this.#u32();
    const name = this.#strings.at(this.#u32());
    const start = this.#at;
    if (!NAME_PATTERN.test(name)) {
      throw blobError(at, `${JSON.stringify(name)} in ${pathOf(open)} is no name of a property`);
    }
    if (length > this.#end - start)
      throw blobError(at, `${name} of ${pathOf(open)} reaches beyond the structure block`);
    if (node.children.size > 0) throw blobError(at, `${name} of ${pathOf(open)} comes behind a node`);
    if (node.properties.has(name)) throw blobError(at, `${pathOf(open)} has ${name} twice`);
    node.properties.set(name, this.#bytes.subarray(start, start + length));
    this.#at = aligned(start + length);
  }

  #u32(): number {
    if (this.#at + 4 > this.#end) throw blobError(this.#at, "the structure block is cut off");
    const value = this.#view.getUint32(this.#at);
    this.#at += 4;
    return value;
  }
}

/** The names of properties; each is there once, however many properties have it. */
class StringBlock {
  readonly #bytes: Uint8Array;
  readonly #block: Block;
  readonly #known = new Map<number, string>();

  constructor(bytes: Uint8Array, block: Block) {
    this.#bytes = bytes;
    this.#block = block;
  }

  at(offset: number): string {
    const known = this.#known.get(offset);
    if (known !== undefined) return known;
    const start = this.#block.start + offset;
    const end = start < this.#block.end ? this.#bytes.indexOf(0, start) : -1;
    if (end < 0 || end >= this.#block.end) throw blobError(start, "a property's name is not inside the strings block");
    const name = text(this.#bytes, start, end);
    this.#known.set(offset, name);
    return name;
  }
}

function pathOf(open: readonly OpenNode[]): string {
  return `/${open
    .slice(1)
    .map(({ name }) => name)
    .join("/")}`;
}

/** Names are ASCII; what is not is found when they are checked. */
function text(bytes: Uint8Array, start: number, end: number): string {
  return Array.from(bytes.subarray(start, end), (byte) => String.fromCharCode(byte)).join("");
}

import {
  aligned,
  HEADER,
  HEADER_SIZE,
  MAGIC,
  OLDEST_VERSION,
  RESERVATION_SIZE,
  TOKEN,
  VERSION,
} from "./blob-format.js";
import type { TreeNode } from "./node.js";
import type { MemoryReservation } from "./raw-tree.js";
import type { DeviceTree } from "./tree.js";

/** Writes a device tree blob of version 17. Labels have no place in it; use `/__symbols__` for them. */
export function encodeBlob(tree: DeviceTree): Uint8Array<ArrayBuffer> {
  const writer = new StructureWriter();
  writer.node(tree.root);
  writer.token(TOKEN.END);
  const structure = writer.bytes();
  const strings = writer.strings;
  const reservations = encodeReservations(tree.reservations);
  const structureAt = HEADER_SIZE + reservations.length;
  const stringsAt = structureAt + structure.length;
  const blob = new Uint8Array(stringsAt + strings.length);
  const view = new DataView(blob.buffer);
  const header: Record<keyof typeof HEADER, number> = {
    magic: MAGIC,
    totalsize: blob.length,
    off_dt_struct: structureAt,
    off_dt_strings: stringsAt,
    off_mem_rsvmap: HEADER_SIZE,
    version: VERSION,
    last_comp_version: OLDEST_VERSION,
    boot_cpuid_phys: tree.bootCpu,
    size_dt_strings: strings.length,
    size_dt_struct: structure.length,
  };
  for (const [name, at] of Object.entries(HEADER)) view.setUint32(at, header[name as keyof typeof HEADER]);
  blob.set(reservations, HEADER_SIZE);
  blob.set(structure, structureAt);
  blob.set(strings, stringsAt);
  return blob;
}

/** With the entry of zeros at the end. */
function encodeReservations(reservations: readonly MemoryReservation[]): Uint8Array {
  const view = new DataView(new ArrayBuffer((reservations.length + 1) * RESERVATION_SIZE));
  for (const [index, { address, size }] of reservations.entries()) {
    view.setBigUint64(index * RESERVATION_SIZE, address);
    view.setBigUint64(index * RESERVATION_SIZE + 8, size);
  }
  return new Uint8Array(view.buffer);
}

/** Collects the structure and the strings block. */
class StructureWriter {
  #bytes = new Uint8Array(4096);
  #length = 0;
  readonly #strings: number[] = [];
  readonly #offsets = new Map<string, number>();

  node(node: TreeNode): void {
    this.token(TOKEN.BEGIN_NODE);
    this.#append(ascii(node.name, "\0"));
    for (const { name, bytes } of node.properties.values()) {
      this.token(TOKEN.PROP);
      this.token(bytes.length);
      this.token(this.#stringOffset(name));
      this.#append(bytes);
    }
    for (const child of node.children) this.node(child);
    this.token(TOKEN.END_NODE);
  }

  token(value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value);
    this.#append(bytes);
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  get strings(): Uint8Array {
    return Uint8Array.from(this.#strings);
  }

  #stringOffset(name: string): number {
    const known = this.#offsets.get(name);
    if (known !== undefined) return known;
    const offset = this.#strings.length;
    this.#offsets.set(name, offset);
    this.#strings.push(...ascii(name, "\0"));
    return offset;
  }

  /** Padded with zeros to whole tokens. */
  #append(bytes: Uint8Array): void {
    const end = aligned(this.#length + bytes.length);
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(2 * this.#bytes.length, end));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length = end;
  }
}

function ascii(text: string, end: string): Uint8Array {
  return new TextEncoder().encode(text + end);
}

import type { Backing } from "../mm/address-space.js";
import type { MemoryObject } from "../mm/memory-object.js";
import { refuse } from "../refusal.js";
import { type FileMapping, OpenFile } from "./open-file.js";
import type { PageSource } from "./page-source.js";

/** `/dev/null`. */
export class NullFile extends OpenFile {
  readonly path = "/dev/null";

  protected release(): void {}

  override pread(): number {
    return 0;
  }

  override pwrite(from: Uint8Array): number {
    return from.length;
  }
}

/** A file of sysfs or procfs, its text as it was when it was opened. */
export class TextFile extends OpenFile {
  readonly path: string;
  readonly #bytes: Uint8Array;

  constructor(path: string, bytes: Uint8Array) {
    super();
    this.path = path;
    this.#bytes = bytes;
  }

  protected release(): void {}

  override pread(into: Uint8Array, offset: bigint): number {
    const rest = this.#bytes.subarray(Number(offset), Number(offset) + into.length);
    into.set(rest);
    return rest.length;
  }
}

/** memfd_create(2). */
export class MemFd extends OpenFile {
  readonly path: string;
  readonly #memory: MemoryObject;
  /** Bytes; the memory is whole pages. */
  readonly #size: number;
  readonly #isMapped: (backing: Backing) => boolean;

  constructor(name: string, memory: MemoryObject, size: number, isMapped: (backing: Backing) => boolean) {
    super();
    this.path = `/memfd:${name} (deleted)`;
    this.#memory = memory;
    this.#size = size;
    this.#isMapped = isMapped;
  }

  protected release(): void {
    this.#memory.closed(this.#isMapped({ memory: this.#memory }));
  }

  override mmap({ offset, length, shared }: FileMapping): Backing {
    // Pages of one's own after the first write cannot be told from a view's shared ones.
    if (!shared) refuse("ENOSYS", "MAP_PRIVATE of a memfd is not simulated");
    // Linux maps beyond the end and faults there; nobody wants that in a test.
    if (offset + BigInt(length) > BigInt(this.#memory.length)) refuse("ENOSYS", "mapping beyond the end of a memfd");
    return { memory: this.#memory };
  }

  /** memfd_pin_folios (mm/gup.c): a page that reaches beyond the end is none. */
  override pageSource(start: number): PageSource {
    this.hold();
    const touch = (from: number, to: number) => {
      if (start + to > this.#size) refuse("EINVAL");
      this.#memory.reserve();
      const extents = this.#memory.touch(start + from, start + to, { from: 0, to: this.#memory.length });
      return extents.map((extent) => ({ ...extent, isRam: true }));
    };
    return { start, isFile: true, offersRegisters: false, touch, released: () => this.put() };
  }
}

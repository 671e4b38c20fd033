import type { Backing } from "../mm/address-space.js";
import type { MemoryObject } from "../mm/memory-object.js";
import { refuse } from "../refusal.js";
import { type FileMapping, OpenFile } from "./open-file.js";

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
  readonly #isMapped: (backing: Backing) => boolean;

  constructor(name: string, memory: MemoryObject, isMapped: (backing: Backing) => boolean) {
    super();
    this.path = `/memfd:${name} (deleted)`;
    this.#memory = memory;
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
}

import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import type { Backing } from "../mm/address-space.js";
import { refuse } from "../refusal.js";
import type { PageSource } from "./page-source.js";

/** What mmap(2) asks of a file. */
export interface FileMapping {
  readonly offset: bigint;
  readonly length: number;
  readonly prot: number;
  readonly shared: boolean;
}

/**
 * The kernel's `struct file`: what a descriptor refers to. It is released when nobody holds it any more, which may be
 * after its last descriptor was closed. What a kind of file does not implement answers as the kernel does for a missing operation.
 */
export abstract class OpenFile {
  /** What `/proc/PID/fd/N` points to. */
  abstract readonly path: string;
  #holders = 1;

  /** The last holder let go. */
  protected abstract release(): void;

  hold(): void {
    this.#holders += 1;
  }

  put(): void {
    this.#holders -= 1;
    if (this.#holders === 0) this.release();
  }

  ioctl(_request: number, _argument: IoctlArgument): number {
    return refuse("ENOTTY");
  }

  pread(_into: Uint8Array, _offset: bigint): number {
    return refuse("EINVAL");
  }

  pwrite(_from: Uint8Array, _offset: bigint): number {
    return refuse("EINVAL");
  }

  mmap(_mapping: FileMapping): Backing {
    return refuse("ENODEV");
  }

  /**
   * What IOMMU_IOAS_MAP_FILE maps of the file, from a page on. That a file is none to map shows when its pages are touched,
   * as Linux finds out; a dma-buf may refuse right away.
   * @param length bytes, whole pages
   */
  pageSource(start: number, _length: number): PageSource {
    return { start, isFile: true, offersRegisters: false, touch: () => refuse("EINVAL"), released: () => {} };
  }

  /** Lines of `/proc/PID/fdinfo/N` that this kind of file adds. */
  fdinfo(): string {
    return "";
  }
}

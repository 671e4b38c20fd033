import type { Ioctl } from "../abi/ioctl.js";
import type { IospanErrorFacts } from "../errors.js";

declare const fdBrand: unique symbol;

/** A file descriptor of a {@link Syscalls} implementation. */
export type Fd = number & { readonly [fdBrand]: true };

/**
 * The argument of an ioctl: the bytes its third argument points to (read and written in place),
 * or the integer it is (the kernel's headers say which: `VFIO_SET_IOMMU` takes its type by value).
 */
export type IoctlArgument = Uint8Array | number;

/** The arguments of mmap(2). */
export interface MmapRequest {
  /** Bytes; a multiple of the page size. */
  readonly length: number;
  /** `PROT_*` bits. */
  readonly prot: number;
  /** `MAP_*` bits. */
  readonly flags: number;
  /** -1 or absent for anonymous memory. */
  readonly fd?: Fd;
  readonly offset?: bigint;
  /** Where, with `MAP_FIXED`. */
  readonly address?: bigint;
}

/**
 * A device's registers behind a mapping. Every method is one access of exactly its width, at a byte offset that is a
 * multiple of the width. Reads and writes of memory are ordered around it as a driver expects: what the program wrote
 * before a register write is seen by the device before that write, and what is read after a register read is read later.
 */
export interface Mmio {
  read8(offset: number): number;
  read16(offset: number): number;
  read32(offset: number): number;
  read64(offset: number): bigint;
  write8(offset: number, value: number): void;
  write16(offset: number, value: number): void;
  write32(offset: number, value: number): void;
  write64(offset: number, value: bigint): void;
}

/** Soft and hard limit of getrlimit(2) in the resource's unit; `Infinity` for `RLIM_INFINITY`. */
export interface ResourceLimit {
  readonly soft: number;
  readonly hard: number;
}

/** How {@link Syscalls.watch} waits. */
export interface WatchOptions {
  /** False: a process that has nothing else to wait for ends. True where absent. */
  readonly keepAlive?: boolean | undefined;
}

/**
 * Everything the library does to the world. Two implementations: Linux (`linux.ts`) and the simulated kernel;
 * decorators around either trace it (`traced.ts`) or make it fail (`faulty.ts`).
 *
 * Contract: every method that the kernel refuses throws a {@link SyscallError} with the kernel's errno and has changed nothing,
 * except `close`, which always releases the descriptor, as Linux does. `…Async` variants answer the same, off the event loop.
 */
export interface Syscalls {
  /** Bytes of a page of the process, `sysconf(_SC_PAGESIZE)`. */
  readonly pageSize: number;
  /**
   * What tells kernels apart: the same object in everything that passes calls on to one process of one kernel. Memory of one is
   * refused by spaces of another. Where it is absent nobody can tell, and nothing is refused.
   */
  readonly kernel?: object | undefined;

  open(path: string, flags: number): Fd;
  openAsync(path: string, flags: number): Promise<Fd>;
  close(fd: Fd): void;
  /**
   * `call` says which: its number crosses to the kernel, its name and layout serve messages and traces.
   * @returns the call's result, 0 or positive.
   */
  ioctl(fd: Fd, call: Ioctl, argument: IoctlArgument): number;
  ioctlAsync(fd: Fd, call: Ioctl, argument: IoctlArgument): Promise<number>;
  /** @returns bytes read; short at the end of the file. */
  pread(fd: Fd, into: Uint8Array, offset: bigint): number;
  pwrite(fd: Fd, from: Uint8Array, offset: bigint): number;

  /** @returns the address, in this process. */
  mmap(request: MmapRequest): bigint;
  munmap(address: bigint, length: number): void;
  /** `advice` is one of `MADV_*`. */
  madvise(address: bigint, length: number, advice: number): void;
  /**
   * The bytes at `address`, without a copy. The caller keeps them mapped for as long as the view can be reached;
   * `mapped-memory.ts` is the place that does.
   * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` for more bytes than an ArrayBuffer can have.
   */
  view(address: bigint, length: number): ArrayBuffer;
  /** Register access through a `view` of a device's region. */
  mmio(view: ArrayBuffer): Mmio;
  /** An anonymous file of `length` bytes; `flags` are `MFD_*` bits. */
  memfd(name: string, flags: number, length: number): Fd;

  /** A non-blocking eventfd with counter 0. */
  eventfd(): Fd;
  /** Reads and clears the counter of an eventfd; 0 when nothing was signalled. */
  readEventfd(fd: Fd): number;
  /** Adds to the counter of an eventfd, as a device's interrupt does. */
  writeEventfd(fd: Fd, count: number): void;
  /** Calls back in the event loop each time `fd` becomes readable, until the returned function is called. */
  watch(fd: Fd, onReadable: () => void, options?: WatchOptions): () => void;

  /** The text of a small file, as sysfs has them. */
  readFile(path: string): string;
  /** The bytes of a small file. */
  readBytes(path: string): Uint8Array;
  writeFile(path: string, text: string): void;
  /** Names in a directory, sorted. */
  readDirectory(path: string): readonly string[];
  readLink(path: string): string;

  /** Limit on locked memory in bytes, `RLIMIT_MEMLOCK`. */
  memlockLimit(): ResourceLimit;
}

/** A refused system call: the kernel's answer, unchanged. */
export class SyscallError extends Error {
  /** As in the manual or the kernel's headers: `openat`, `VFIO_IOMMU_MAP_DMA`. */
  readonly syscall: string;
  /** Positive. */
  readonly errno: number;

  constructor(syscall: string, errno: number, errnoName: string, detail?: string) {
    super(`${syscall}: ${errnoName}${detail === undefined ? "" : ` (${detail})`}`);
    this.name = "SyscallError";
    this.syscall = syscall;
    this.errno = errno;
  }
}

/** The facts of a failure that an {@link IospanError} carries on. */
export function factsOf(error: SyscallError): Omit<IospanErrorFacts, "hint"> {
  return { syscall: error.syscall, errno: error.errno, cause: error };
}

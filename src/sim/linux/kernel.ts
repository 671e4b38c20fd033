import { errnoName } from "../../abi/errno.js";
import type { Ioctl } from "../../abi/ioctl.js";
import {
  type Fd,
  type IoctlArgument,
  type MmapRequest,
  type Mmio,
  type ResourceLimit,
  SyscallError,
  type Syscalls,
} from "../../syscalls/syscalls.js";
import type { Clock } from "../hw/clock.js";
import type { SmmuCounters } from "../hw/smmu/smmu.js";
import { type Booted, boot } from "./boot.js";
import type { MachineDescription } from "./description.js";
import { EventFd } from "./files/eventfd.js";
import { TextFile } from "./files/plain-files.js";
import type { IommufdSnapshot } from "./iommufd/snapshot.js";
import { SimulatedMmio } from "./mmio.js";
import { Refusal, refuse } from "./refusal.js";
import { type ContainerSnapshot, snapshot } from "./snapshot.js";

/**
 * A Linux kernel at its system call boundary, with one process on it and the machine that a description gives. It answers
 * VFIO's calls as Linux of that release does, errno for errno; what it does not simulate answers ENOSYS or ENOTTY.
 * It is a machine to open devices on, too: its `syscalls` are itself.
 */
export class SimulatedKernel implements Syscalls {
  readonly pageSize: number;
  readonly kernel: object = this;
  readonly #parts: Booted;

  constructor(description: MachineDescription) {
    this.#parts = boot(description);
    this.pageSize = this.#parts.physical.pageSize;
  }

  // What tests and pictures look at

  get syscalls(): Syscalls {
    return this;
  }

  /** The kernel's messages, oldest first. */
  get log(): readonly string[] {
    return this.#parts.log.lines;
  }

  /** The simulation's time. */
  get clock(): Clock {
    return this.#parts.clock;
  }

  /** The SMMUs, as the description lists them, and what their hardware did so far. */
  get smmus(): readonly { readonly name: string; readonly counters: SmmuCounters }[] {
    return this.#parts.iommus.map(({ name, hardware }) => ({ name, counters: hardware.counters }));
  }

  /** Open descriptors of the process. */
  get openFds(): readonly { readonly fd: Fd; readonly path: string }[] {
    return this.#parts.process.fds.entries().map(([fd, { path }]) => ({ fd, path }));
  }

  /** Containers that are open or have a group, in the order they were made. */
  get containers(): readonly ContainerSnapshot[] {
    return this.#parts.vfio.containers.map(snapshot);
  }

  /** Bytes that count against RLIMIT_MEMLOCK (VmLck). */
  get lockedBytes(): number {
    return this.#parts.process.lockedPages * this.pageSize;
  }

  /** Pins that VFIO and iommufd hold: a page in two mappings has two. */
  get pinnedPages(): number {
    const backends = this.#parts.vfio.containers.map(({ backend }) => backend);
    const dmas = backends.flatMap((backend) => (backend === undefined ? [] : [...backend.state.dmas]));
    const bytes = dmas.flatMap(({ value }) => value.pinned).reduce((sum, { length }) => sum + length, 0);
    return bytes / this.pageSize + this.#parts.process.pinnedPages;
  }

  /** Iommufds that are open, by a descriptor or by a device, in the order they were made. */
  get iommufds(): readonly IommufdSnapshot[] {
    return this.#parts.iommufds?.snapshots() ?? [];
  }

  /** Bytes of RAM that mappings of the process and pins keep. */
  get usedMemory(): number {
    return this.#parts.physical.used;
  }

  /** What is mapped in the process, by address. */
  get addressSpace(): readonly { readonly start: number; readonly end: number; readonly prot: number }[] {
    return Array.from(this.#parts.process.memory.mappings, ({ start, end, value }) => ({
      start,
      end,
      prot: value.prot,
    }));
  }

  /**
   * Another process writes the device's name to the `unbind` of its driver. While a program has the device open on vfio-pci that
   * waits: the program is asked to let go, on VFIO_PCI_REQ_IRQ_INDEX. (A program that writes it itself waits for itself, and
   * here, where it would be for ever, gets an error.)
   * @returns when the write has returned.
   */
  async unbind(name: string): Promise<void> {
    const bus = this.#parts.buses.find((each) => each.device(name) !== undefined);
    try {
      await (bus ?? refuse("ENODEV")).unbindLater(name);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      throw new SyscallError("write", error.errno, errnoName(error.errno), `unbind of ${name}`);
    }
  }

  // Files

  open(path: string, flags: number): Fd {
    return answer("openat", path, () => this.#open(path, flags));
  }

  openAsync(path: string, flags: number): Promise<Fd> {
    return later(() => this.open(path, flags));
  }

  close(fd: Fd): void {
    answer("close", undefined, () => this.#parts.process.fds.close(fd));
  }

  ioctl(fd: Fd, call: Ioctl, argument: IoctlArgument): number {
    return answer(call.name, undefined, () => this.#parts.process.fds.get(fd).ioctl(call.request, argument));
  }

  ioctlAsync(fd: Fd, call: Ioctl, argument: IoctlArgument): Promise<number> {
    return later(() => this.ioctl(fd, call, argument));
  }

  pread(fd: Fd, into: Uint8Array, offset: bigint): number {
    return answer("pread64", undefined, () => this.#parts.process.fds.get(fd).pread(into, offset));
  }

  pwrite(fd: Fd, from: Uint8Array, offset: bigint): number {
    return answer("pwrite64", undefined, () => this.#parts.process.fds.get(fd).pwrite(from, offset));
  }

  // Memory

  mmap(request: MmapRequest): bigint {
    return answer("mmap", undefined, () => BigInt(this.#parts.memory.mmap(this.#parts.process, request)));
  }

  munmap(address: bigint, length: number): void {
    answer("munmap", undefined, () => this.#parts.memory.munmap(this.#parts.process, Number(address), length));
  }

  madvise(address: bigint, length: number, advice: number): void {
    const { memory, process } = this.#parts;
    answer("madvise", undefined, () => memory.madvise(process, Number(address), length, advice));
  }

  view(address: bigint, length: number): ArrayBuffer {
    return this.#parts.process.views.view(Number(address), length);
  }

  mmio(view: ArrayBuffer): Mmio {
    return new SimulatedMmio(this.#parts.process.views, view);
  }

  memfd(name: string, flags: number, length: number): Fd {
    const { memory, process } = this.#parts;
    return answer("memfd_create", name, () => memory.memfd(process, name, flags, length));
  }

  memlockLimit(): ResourceLimit {
    const { memlock } = this.#parts.process.limits;
    return { soft: memlock, hard: memlock };
  }

  // Events

  eventfd(): Fd {
    return answer("eventfd2", undefined, () => this.#parts.process.fds.install(new EventFd()));
  }

  readEventfd(fd: Fd): number {
    return answer("read", undefined, () => this.#eventfd(fd).take());
  }

  writeEventfd(fd: Fd, count: number): void {
    answer("write", undefined, () => this.#eventfd(fd).signal(count));
  }

  watch(fd: Fd, onReadable: () => void): () => void {
    return answer("epoll_ctl", undefined, () => this.#eventfd(fd).watch(onReadable));
  }

  // sysfs and procfs

  readFile(path: string): string {
    return new TextDecoder().decode(this.readBytes(path));
  }

  readBytes(path: string): Uint8Array {
    return answer("openat", path, () => this.#parts.files.read(path));
  }

  writeFile(path: string, text: string): void {
    answer("write", path, () => this.#parts.files.write(path, text));
  }

  readDirectory(path: string): readonly string[] {
    return answer("openat", path, () => this.#parts.files.names(path));
  }

  readLink(path: string): string {
    return answer("readlinkat", path, () => this.#parts.files.readLink(path));
  }

  #open(path: string, flags: number): Fd {
    const { files, process } = this.#parts;
    const node = files.find(path);
    // Like Linux, no file is opened for which there is no number.
    process.fds.free();
    if (node.kind === "device") return process.fds.install(node.open());
    const isForWriting = (flags & ACCESS_MODE) !== 0;
    if (node.kind === "directory") return refuse(isForWriting ? "EISDIR" : "ENOSYS", path);
    if (isForWriting) return refuse("ENOSYS", "sysfs is written with writeFile");
    return process.fds.install(new TextFile(path, files.read(path)));
  }

  #eventfd(fd: Fd): EventFd {
    const file = this.#parts.process.fds.get(fd);
    return file instanceof EventFd ? file : refuse("EINVAL");
  }
}

/** O_ACCMODE. */
const ACCESS_MODE = 3;

/** The boundary: an errno inside becomes the error of the call. */
function answer<T>(syscall: string, detail: string | undefined, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    throw new SyscallError(syscall, error.errno, errnoName(error.errno), detail);
  }
}

/** Off the event loop: the caller goes on first. */
async function later<T>(call: () => T): Promise<T> {
  await undefined;
  return call();
}

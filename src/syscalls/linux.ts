import { constants } from "node:buffer";
import * as fs from "node:fs";
import koffi from "koffi";
import { errno, errnoName } from "../abi/errno.js";
import type { Ioctl } from "../abi/ioctl.js";
import { IospanError } from "../errors.js";
import { CallQueue } from "./call-queue.js";
import {
  type Fd,
  type IoctlArgument,
  type MmapRequest,
  type Mmio,
  type ResourceLimit,
  SyscallError,
  type Syscalls,
  type WatchOptions,
} from "./syscalls.js";
import { TypedArrayMmio } from "./typed-array-mmio.js";

// Values of the asm-generic ABI, which x86-64, arm64 and riscv64 share.
const EFD_CLOEXEC_NONBLOCK = 0o2000000 | 0o4000;
const RLIMIT_MEMLOCK = 8;
const RLIM_INFINITY = 2n ** 64n - 1n;
const SC_PAGESIZE = 30;

type Callback = (error: unknown, result: number) => void;

/** The part of koffi's function type that is used here. */
interface NativeFunction {
  (...values: unknown[]): number;
  async(...values: unknown[]): void;
}

/**
 * What Node's own fs does not offer. `ioctl` is variadic in C; declared as it is called, which is the same on the
 * 64-bit Linux ABIs (variadic integers travel in the ordinary argument registers).
 */
function loadLibc() {
  const libc = koffi.load(null);
  const bind = (name: string, result: string, parameters: string[]): NativeFunction =>
    libc.func(name, result, parameters);
  return {
    ioctl: bind("ioctl", "int", ["int", "ulong", "void *"]),
    ioctlValue: bind("ioctl", "int", ["int", "ulong", "ulong"]),
    mmap: bind("mmap", "intptr_t", ["uintptr_t", "size_t", "int", "int", "int", "int64_t"]),
    munmap: bind("munmap", "int", ["uintptr_t", "size_t"]),
    madvise: bind("madvise", "int", ["uintptr_t", "size_t", "int"]),
    memfdCreate: bind("memfd_create", "int", ["str", "uint"]),
    eventfd: bind("eventfd", "int", ["uint", "int"]),
    getrlimit: bind("getrlimit", "int", ["int", "void *"]),
    sysconf: bind("sysconf", "long", ["int"]),
  };
}

type Libc = ReturnType<typeof loadLibc>;

/**
 * The system calls of the Linux this process runs on.
 * @throws IospanError `ERR_IOSPAN_UNSUPPORTED_PLATFORM` elsewhere, or on a 32-bit or big-endian machine.
 */
export function linuxSyscalls(): Syscalls {
  if (process.platform !== "linux" || !["x64", "arm64", "riscv64"].includes(process.arch)) {
    throw new IospanError(
      "ERR_IOSPAN_UNSUPPORTED_PLATFORM",
      `VFIO is Linux's; this is ${process.platform} on ${process.arch}`,
      {
        hint: "run on 64-bit Linux",
      },
    );
  }
  return new LinuxSyscalls(loadLibc());
}

/** Each `linux()` is the same process. */
const THIS_KERNEL = Object.freeze({ name: "linux" });

class LinuxSyscalls implements Syscalls {
  readonly pageSize: number;
  readonly kernel = THIS_KERNEL;
  readonly #libc: Libc;
  // koffi refuses calls beyond 256 under way; its threads are as many as the processor's.
  readonly #calls = new CallQueue(128);

  constructor(libc: Libc) {
    this.#libc = libc;
    this.pageSize = libc.sysconf(SC_PAGESIZE);
  }

  open(path: string, flags: number): Fd {
    return withFsErrors("openat", path, () => fs.openSync(path, flags)) as Fd;
  }

  openAsync(path: string, flags: number): Promise<Fd> {
    return new Promise((resolve, reject) => {
      fs.open(path, flags, (error, fd) => (error ? reject(fromFsError(error, "openat", path)) : resolve(fd as Fd)));
    });
  }

  close(fd: Fd): void {
    withFsErrors("close", undefined, () => fs.closeSync(fd));
  }

  ioctl(fd: Fd, call: Ioctl, argument: IoctlArgument): number {
    const result = this.#ioctlFunction(argument)(fd, call.request, argument);
    return checked(call.name, result);
  }

  ioctlAsync(fd: Fd, call: Ioctl, argument: IoctlArgument): Promise<number> {
    return this.#calls.run(() => this.#ioctlAsync(fd, call, argument));
  }

  #ioctlAsync(fd: Fd, call: Ioctl, argument: IoctlArgument): Promise<number> {
    return new Promise((resolve, reject) => {
      const done: Callback = (error, result) => {
        // koffi keeps the errno of an asynchronous call for its callback.
        if (error) reject(error);
        else if (result < 0) reject(failure(call.name));
        else resolve(result);
      };
      this.#ioctlFunction(argument).async(fd, call.request, argument, done);
    });
  }

  #ioctlFunction(argument: IoctlArgument): NativeFunction {
    return typeof argument === "number" ? this.#libc.ioctlValue : this.#libc.ioctl;
  }

  pread(fd: Fd, into: Uint8Array, offset: bigint): number {
    checkOffset("pread64", offset);
    return withFsErrors("pread64", undefined, () => fs.readSync(fd, into, 0, into.length, offset));
  }

  pwrite(fd: Fd, from: Uint8Array, offset: bigint): number {
    // Node's writeSync takes no bigint position; 2^53 covers VFIO's region offsets (index << 40).
    checkOffset("pwrite64", offset);
    return withFsErrors("pwrite64", undefined, () => fs.writeSync(fd, from, 0, from.length, Number(offset)));
  }

  mmap(request: MmapRequest): bigint {
    const { length, prot, flags, fd = -1, offset = 0n, address = 0n } = request;
    return BigInt(checked("mmap", this.#libc.mmap(address, length, prot, flags, fd, offset)));
  }

  munmap(address: bigint, length: number): void {
    checked("munmap", this.#libc.munmap(address, length));
  }

  madvise(address: bigint, length: number, advice: number): void {
    checked("madvise", this.#libc.madvise(address, length, advice));
  }

  view(address: bigint, length: number): ArrayBuffer {
    // Beyond that making the view would end the process; 4 GiB in Node 20.
    if (length > constants.MAX_LENGTH) throw viewTooLarge(length);
    return koffi.view(address, length);
  }

  mmio(view: ArrayBuffer): Mmio {
    return new TypedArrayMmio(view, process.arch !== "x64");
  }

  memfd(name: string, flags: number, length: number): Fd {
    const fd = checked("memfd_create", this.#libc.memfdCreate(name, flags)) as Fd;
    try {
      withFsErrors("ftruncate", name, () => fs.ftruncateSync(fd, length));
      return fd;
    } catch (error) {
      this.close(fd);
      throw error;
    }
  }

  eventfd(): Fd {
    return checked("eventfd2", this.#libc.eventfd(0, EFD_CLOEXEC_NONBLOCK)) as Fd;
  }

  readEventfd(fd: Fd): number {
    const counter = new BigUint64Array(1);
    try {
      fs.readSync(fd, counter);
    } catch (error) {
      if (isFsError(error) && error.code === "EAGAIN") return 0;
      throw fromFsError(error, "read", undefined);
    }
    return Number(counter[0]);
  }

  writeEventfd(fd: Fd, count: number): void {
    withFsErrors("write", undefined, () => fs.writeSync(fd, BigUint64Array.of(BigInt(count))));
  }

  watch(fd: Fd, onReadable: () => void, { keepAlive = true }: WatchOptions = {}): () => void {
    const handle = koffi.node.poll(fd, { readable: true }, onReadable);
    if (!keepAlive) handle.unref();
    let open = true;
    return () => {
      if (open) handle.close();
      open = false;
    };
  }

  readFile(path: string): string {
    return withFsErrors("read-file", path, () => fs.readFileSync(path, "utf8"));
  }

  readBytes(path: string): Uint8Array {
    return withFsErrors("read-file", path, () => fs.readFileSync(path));
  }

  writeFile(path: string, text: string): void {
    // Some of sysfs's files may only be written, whoever asks; and none is to be made by writing to it.
    const fd = this.open(path, fs.constants.O_WRONLY);
    try {
      withFsErrors("write-file", path, () => fs.writeSync(fd, text));
    } finally {
      fs.closeSync(fd);
    }
  }

  readDirectory(path: string): readonly string[] {
    return withFsErrors("read-directory", path, () => fs.readdirSync(path)).sort();
  }

  readLink(path: string): string {
    return withFsErrors("readlinkat", path, () => fs.readlinkSync(path));
  }

  memlockLimit(): ResourceLimit {
    const limit = new BigUint64Array(2);
    checked("getrlimit", this.#libc.getrlimit(RLIMIT_MEMLOCK, limit));
    const bytes = (value = 0n) => (value === RLIM_INFINITY ? Number.POSITIVE_INFINITY : Number(value));
    return { soft: bytes(limit[0]), hard: bytes(limit[1]) };
  }
}

function viewTooLarge(length: number): IospanError {
  return new IospanError("ERR_IOSPAN_NOT_SUPPORTED", `${length} bytes are more than one ArrayBuffer can show`, {
    hint: `at most ${constants.MAX_LENGTH}: look at parts of the memory, DmaMemory.view(offset, length)`,
  });
}

function checked(syscall: string, result: number): number {
  if (result === -1) throw failure(syscall);
  return result;
}

function failure(syscall: string): SyscallError {
  const code = koffi.errno();
  return new SyscallError(syscall, code, errnoName(code));
}

/** Node takes a negative position for "where the file stands". */
function checkOffset(syscall: string, offset: bigint): void {
  if (offset < 0n) throw new SyscallError(syscall, errno.EINVAL, "EINVAL");
}

function withFsErrors<T>(syscall: string, path: string | undefined, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw fromFsError(error, syscall, path);
  }
}

function isFsError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "errno" in error;
}

/** libuv reports errno negated, and calls by names of its own. */
function fromFsError(error: unknown, syscall: string, path: string | undefined): unknown {
  if (!isFsError(error) || error.errno === undefined) return error;
  return new SyscallError(syscall, -error.errno, errnoName(-error.errno), path);
}

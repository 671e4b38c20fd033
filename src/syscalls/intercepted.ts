import type { Ioctl } from "../abi/ioctl.js";
import type { Fd, IoctlArgument, MmapRequest, ResourceLimit, Syscalls } from "./syscalls.js";

/** One call on its way through a decorator. */
export interface Call {
  /** As in the manual: `openat`, `ioctl`, `mmap`, …; sysfs accesses are `read-file`, `write-file`, `read-directory`, `readlinkat`. */
  readonly name: string;
  readonly fd?: Fd;
  readonly path?: string;
  readonly ioctl?: Ioctl;
  /** The ioctl's argument, the mmap's request, or the text or bytes that are written. */
  readonly argument?: IoctlArgument | MmapRequest | string;
  readonly length?: number;
  readonly offset?: bigint;
  readonly address?: bigint;
  /** `O_*` bits of an openat, `MFD_*` bits of a memfd_create; mmap's flags are in its request. */
  readonly flags?: number;
  /** One of `MADV_*`, of a madvise. */
  readonly advice?: number;
  /** What a write adds to an eventfd. */
  readonly count?: number;
}

/** Runs one call: `proceed` performs it. A result that is a promise settles when the call has been answered. */
export type Around = <T>(call: Call, proceed: () => T) => T;

/**
 * `inner` with every system call passed through `around`: what decorators of {@link Syscalls} are made of.
 * `view`, `mmio`, `pageSize`, `kernel` and the stopping of a watch are no system calls and pass untouched.
 */
export function intercepted(inner: Syscalls, around: Around): Syscalls {
  // An `around` that throws must reject where the caller expects a promise.
  const aroundAsync = async <T>(call: Call, proceed: () => Promise<T>): Promise<T> => around(call, proceed);
  return {
    pageSize: inner.pageSize,
    kernel: inner.kernel,
    view: (address, length) => inner.view(address, length),
    mmio: (view) => inner.mmio(view),

    open: (path, flags) => around({ name: "openat", path, flags }, () => inner.open(path, flags)),
    openAsync: (path, flags) => aroundAsync({ name: "openat", path, flags }, () => inner.openAsync(path, flags)),
    close: (fd) => around({ name: "close", fd }, () => inner.close(fd)),
    ioctl: (fd, ioctl, argument) =>
      around({ name: "ioctl", fd, ioctl, argument }, () => inner.ioctl(fd, ioctl, argument)),
    ioctlAsync: (fd, ioctl, argument) =>
      aroundAsync({ name: "ioctl", fd, ioctl, argument }, () => inner.ioctlAsync(fd, ioctl, argument)),
    pread: (fd, argument, offset) =>
      around({ name: "pread64", fd, argument, offset }, () => inner.pread(fd, argument, offset)),
    pwrite: (fd, argument, offset) =>
      around({ name: "pwrite64", fd, argument, offset }, () => inner.pwrite(fd, argument, offset)),

    mmap: (argument: MmapRequest) => around({ name: "mmap", argument }, () => inner.mmap(argument)),
    munmap: (address, length) => around({ name: "munmap", address, length }, () => inner.munmap(address, length)),
    madvise: (address, length, advice) =>
      around({ name: "madvise", address, length, advice }, () => inner.madvise(address, length, advice)),
    memfd: (path, flags, length) =>
      around({ name: "memfd_create", path, flags, length }, () => inner.memfd(path, flags, length)),

    eventfd: () => around({ name: "eventfd2" }, () => inner.eventfd()),
    readEventfd: (fd) => around({ name: "read", fd }, () => inner.readEventfd(fd)),
    writeEventfd: (fd, count) => around({ name: "write", fd, count }, () => inner.writeEventfd(fd, count)),
    watch: (fd, onReadable, options) => around({ name: "epoll_ctl", fd }, () => inner.watch(fd, onReadable, options)),

    readFile: (path) => around({ name: "read-file", path }, () => inner.readFile(path)),
    readBytes: (path) => around({ name: "read-file", path }, () => inner.readBytes(path)),
    writeFile: (path, argument) =>
      around({ name: "write-file", path, argument }, () => inner.writeFile(path, argument)),
    readDirectory: (path) => around({ name: "read-directory", path }, () => inner.readDirectory(path)),
    readLink: (path) => around({ name: "readlinkat", path }, () => inner.readLink(path)),

    memlockLimit: () => around<ResourceLimit>({ name: "getrlimit" }, () => inner.memlockLimit()),
  };
}

import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { IOMMU_IOAS_IOVA_RANGES, ioasIovaRanges } from "../../src/abi/iommufd-ioas.js";
import {
  dmaMap,
  dmaUnmap,
  VFIO_GET_API_VERSION,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  VFIO_SET_IOMMU,
} from "../../src/abi/vfio-container.js";
import { VFIO_GROUP_GET_DEVICE_FD } from "../../src/abi/vfio-group.js";
import { faulty } from "../../src/syscalls/faulty.js";
import type { Syscalls } from "../../src/syscalls/syscalls.js";
import { type TraceOptions, traced } from "../../src/syscalls/traced.js";
import { refusalFrom, refusalOf } from "../support/errors.js";
import { fd, refused, strictSyscalls } from "../support/strict-syscalls.js";

function tracing(calls: Partial<Syscalls>, options?: TraceOptions) {
  const lines: string[] = [];
  return { lines, syscalls: traced(strictSyscalls(calls), (line) => lines.push(line), options) };
}

const mapping = { flags: 3, vaddr: 0x7f0000000000n, iova: 0x10000n, size: 0x2000n };

describe("traced", () => {
  it("writes a line per call, with structs decoded and descriptors named", () => {
    const { lines, syscalls } = tracing({ open: () => fd(19), ioctl: () => 0, close: () => {} });
    const container = syscalls.open("/dev/vfio/vfio", 2);
    syscalls.ioctl(container, VFIO_GET_API_VERSION, 0);
    syscalls.ioctl(container, VFIO_SET_IOMMU, 3);
    syscalls.ioctl(container, VFIO_IOMMU_MAP_DMA, dmaMap.encode(mapping));
    syscalls.close(container);
    expect(lines).toEqual([
      'openat("/dev/vfio/vfio", O_RDWR) = 19',
      "ioctl(19</dev/vfio/vfio>, VFIO_GET_API_VERSION) = 0",
      "ioctl(19</dev/vfio/vfio>, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) = 0",
      "ioctl(19</dev/vfio/vfio>, VFIO_IOMMU_MAP_DMA, " +
        "{argsz=32, flags=READ|WRITE, vaddr=0x7f0000000000, iova=0x10000, size=0x2000}) = 0",
      "close(19</dev/vfio/vfio>) = 0",
    ]);
  });

  it("lets a call end as it would untraced where the log throws", async () => {
    const fault = refused("close", "EIO");
    const inner = strictSyscalls({
      open: () => fd(19),
      openAsync: () => Promise.resolve(fd(20)),
      close: () => {
        throw fault;
      },
    });
    let lines = 0;
    const syscalls = traced(inner, () => {
      lines += 1;
      throw new Error("EPIPE");
    });
    expect(syscalls.open("/dev/vfio/vfio", 2)).toBe(19);
    // A rejection that nobody handles fails the run.
    expect(await syscalls.openAsync("/dev/iommu", 2)).toBe(20);
    expect(refusalOf(() => syscalls.close(fd(19)))).toBe(fault);
    expect(lines).toBe(3);
  });

  it("shows what the kernel changed in a struct behind an arrow", () => {
    const { lines, syscalls } = tracing({
      ioctl: (_, __, argument) => {
        if (argument instanceof Uint8Array) dmaUnmap.patch(argument, 0, { size: 0x1000n });
        return 0;
      },
    });
    syscalls.ioctl(fd(4), VFIO_IOMMU_UNMAP_DMA, dmaUnmap.encode({ iova: 0x10000n, size: 0x2000n }));
    expect(lines).toEqual([
      "ioctl(4, VFIO_IOMMU_UNMAP_DMA, {argsz=24, flags=0, iova=0x10000, size=0x2000} => {size=0x1000}) = 0",
    ]);
  });

  it("shows also what a kernel changed that refuses", () => {
    const { lines, syscalls } = tracing({
      ioctl: (_, __, argument) => {
        if (argument instanceof Uint8Array) ioasIovaRanges.patch(argument, 0, { num_iovas: 3 });
        throw refused("IOMMU_IOAS_IOVA_RANGES", "EMSGSIZE");
      },
    });
    refusalOf(() => syscalls.ioctl(fd(4), IOMMU_IOAS_IOVA_RANGES, ioasIovaRanges.encode({ ioas_id: 1 })));
    expect(lines).toEqual([
      "ioctl(4, IOMMU_IOAS_IOVA_RANGES, {size=32, ioas_id=1, num_iovas=0, allowed_iovas=0x0, out_iova_alignment=0x0} => " +
        "{num_iovas=3}) = -1 EMSGSIZE",
    ]);
  });

  it("gives refusals by the errno's name, and passes them on", () => {
    const refusal = refused("VFIO_IOMMU_MAP_DMA", "EEXIST");
    const { lines, syscalls } = tracing({
      ioctl: () => {
        throw refusal;
      },
      open: () => {
        throw refused("openat", "ENOENT");
      },
    });
    expect(refusalOf(() => syscalls.ioctl(fd(4), VFIO_IOMMU_MAP_DMA, dmaMap.encode(mapping)))).toBe(refusal);
    refusalOf(() => syscalls.open("/dev/vfio/9", 2));
    expect(lines).toEqual([
      "ioctl(4, VFIO_IOMMU_MAP_DMA, {argsz=32, flags=READ|WRITE, vaddr=0x7f0000000000, iova=0x10000, size=0x2000}) = -1 EEXIST",
      'openat("/dev/vfio/9", O_RDWR) = -1 ENOENT',
    ]);
  });

  it("writes about an asynchronous call once it is answered", async () => {
    let answer = (_: number) => {};
    const { lines, syscalls } = tracing({
      openAsync: async () => fd(5),
      ioctlAsync: () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
    });
    await syscalls.openAsync("/dev/vfio/1", 2);
    const calling = syscalls.ioctlAsync(fd(5), VFIO_GROUP_GET_DEVICE_FD, new TextEncoder().encode("0000:02:00.0\0"));
    await Promise.resolve();
    expect(lines).toEqual(['openat("/dev/vfio/1", O_RDWR) = 5']);
    answer(6);
    expect(await calling).toBe(6);
    expect(lines.slice(1)).toEqual(['ioctl(5</dev/vfio/1>, VFIO_GROUP_GET_DEVICE_FD, "0000:02:00.0") = 6']);
  });

  it("writes about an asynchronous refusal, and rejects with it", async () => {
    const refusal = refused("VFIO_IOMMU_MAP_DMA", "ENOMEM");
    const { lines, syscalls } = tracing({ ioctlAsync: async () => Promise.reject(refusal) });
    expect(await refusalFrom(syscalls.ioctlAsync(fd(5), VFIO_SET_IOMMU, 3))).toBe(refusal);
    expect(lines).toEqual(["ioctl(5, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) = -1 ENOMEM"]);
  });

  it("names devices, eventfds and memfds too, and forgets a name when its descriptor is closed", () => {
    const { lines, syscalls } = tracing({
      ioctl: () => 7,
      eventfd: () => fd(8),
      close: () => {},
      readEventfd: () => 2,
      writeEventfd: () => {},
      memfd: () => fd(9),
      mmap: () => 0x1000n,
    });
    syscalls.ioctl(fd(5), VFIO_GROUP_GET_DEVICE_FD, new TextEncoder().encode("dma-port\0"));
    syscalls.close(fd(7));
    const eventfd = syscalls.eventfd();
    syscalls.writeEventfd(eventfd, 2);
    syscalls.readEventfd(eventfd);
    syscalls.mmap({ length: 4096, prot: 1, flags: 1, fd: syscalls.memfd("iospan", 1, 4096) });
    syscalls.close(fd(7));
    expect(lines.slice(1)).toEqual([
      "close(7<dma-port>) = 0",
      "eventfd2() = 8",
      "write(8<eventfd>, 2) = 0",
      "read(8<eventfd>) = 2",
      'memfd_create("iospan", MFD_CLOEXEC, 4096) = 9',
      "mmap(length=4096, prot=PROT_READ, flags=MAP_SHARED, fd=9<memfd:iospan>) = 0x1000",
      "close(7) = 0",
    ]);
  });

  it("forgets a name also when close reports an error, since the descriptor is released all the same", () => {
    const lines: string[] = [];
    const inner = faulty(strictSyscalls({ open: () => fd(7), close: () => {}, memfd: () => fd(7), pread: () => 0 }));
    const syscalls = traced(inner, (line) => lines.push(line));
    syscalls.open("/dev/vfio/vfio", 2);
    inner.fault = { nth: 1, errno: errno.EIO };
    refusalOf(() => syscalls.close(fd(7)));
    syscalls.pread(syscalls.memfd("new", 0, 1), new Uint8Array(1), 0n);
    expect(lines.at(1)).toBe("close(7</dev/vfio/vfio>) = -1 EIO");
    expect(lines.at(-1)).not.toContain("/dev/vfio/vfio");
  });

  it("shows memory calls with their addresses and the names of their flags", () => {
    const { lines, syscalls } = tracing({
      mmap: () => 0x7f0000001000n,
      munmap: () => {},
      madvise: () => {},
      memfd: () => fd(3),
      memlockLimit: () => ({ soft: 8192, hard: Number.POSITIVE_INFINITY }),
    });
    syscalls.mmap({ length: 8192, prot: 3, flags: 0x22 });
    syscalls.mmap({ length: 4096, prot: 1, flags: 1, fd: fd(9), offset: 0x10000000000n });
    syscalls.mmap({ length: 4096, prot: 0, flags: 0x12, address: 0x7f0000001000n });
    syscalls.madvise(0x7f0000001000n, 8192, 10);
    syscalls.munmap(0x7f0000001000n, 8192);
    syscalls.memfd("iospan", 5 | (21 << 26), 4096);
    syscalls.memlockLimit();
    expect(lines).toEqual([
      "mmap(length=8192, prot=PROT_READ|PROT_WRITE, flags=MAP_PRIVATE|MAP_ANONYMOUS) = 0x7f0000001000",
      "mmap(length=4096, prot=PROT_READ, flags=MAP_SHARED, fd=9, offset=0x10000000000) = 0x7f0000001000",
      "mmap(length=4096, prot=PROT_NONE, flags=MAP_PRIVATE|MAP_FIXED, address=0x7f0000001000) = 0x7f0000001000",
      "madvise(0x7f0000001000, 8192, MADV_DONTFORK) = 0",
      "munmap(0x7f0000001000, 8192) = 0",
      'memfd_create("iospan", MFD_CLOEXEC|MFD_HUGETLB|21<<MFD_HUGE_SHIFT, 4096) = 3',
      "getrlimit(RLIMIT_MEMLOCK) = {soft=8192, hard=Infinity}",
    ]);
  });

  it("shows the bytes that are read and written, the first of many", () => {
    const { lines, syscalls } = tracing({
      pread: (_, into) => {
        into.set([0xde, 0x1b]);
        return into.length;
      },
      pwrite: (_, from) => from.length,
    });
    syscalls.pread(fd(9), new Uint8Array(2), 0x70000000000n);
    syscalls.pwrite(fd(9), new Uint8Array(32).fill(1), 4n);
    expect(lines).toEqual([
      "pread64(9, 0x70000000000, [de 1b]) = 2",
      `pwrite64(9, 0x4, [${Array(16).fill("01").join(" ")} … 32 bytes]) = 32`,
    ]);
  });

  it("says of a read how much came, or was to come", () => {
    const reads = [() => 1, () => 0];
    const { lines, syscalls } = tracing({
      pread: () => {
        const read = reads.shift();
        if (read === undefined) throw refused("pread64", "EIO");
        return read();
      },
    });
    for (let read = 0; read < 2; read += 1) syscalls.pread(fd(9), new Uint8Array(4), 0n);
    refusalOf(() => syscalls.pread(fd(9), new Uint8Array(4), 0n));
    expect(lines).toEqual([
      "pread64(9, 0x0, [00]) = 1",
      "pread64(9, 0x0, []) = 0",
      "pread64(9, 0x0, 4 bytes) = -1 EIO",
    ]);
  });

  const sysfsLines = [
    'read-file("/sys/x") = "4"',
    'read-file("/sys/y") = [01 02]',
    'read-directory("/sys") = 2 names',
    'readlinkat("/sys/driver") = "../vfio-pci"',
    'write-file("/sys/bind", "0000:02:00.0") = 0',
  ];

  it.each([
    [{}, sysfsLines],
    [{ sysfs: "all" }, sysfsLines],
    [{ sysfs: "writes" }, sysfsLines.slice(-1)],
    [{ sysfs: "none" }, []],
  ] as const)("shows sysfs accesses with %j", (options, expected) => {
    const { lines, syscalls } = tracing(
      {
        readFile: () => "4\n",
        readBytes: () => Uint8Array.of(1, 2),
        writeFile: () => {},
        readDirectory: () => ["a", "b"],
        readLink: () => "../vfio-pci",
        close: () => {},
      },
      options,
    );
    expect(syscalls.readFile("/sys/x")).toBe("4\n");
    syscalls.readBytes("/sys/y");
    syscalls.readDirectory("/sys");
    syscalls.readLink("/sys/driver");
    syscalls.writeFile("/sys/bind", "0000:02:00.0");
    syscalls.close(fd(3));
    expect(lines).toEqual([...expected, "close(3) = 0"]);
  });

  it("refuses an option that does not exist", () => {
    const options = { sysfs: "reads" } as unknown as TraceOptions;
    expect(() => tracing({}, options)).toThrowError(
      expect.objectContaining({ code: "ERR_IOSPAN_INVALID_ARGUMENT", hint: "one of all, writes, none" }),
    );
  });

  it("shows the beginning of a long file", () => {
    const { lines, syscalls } = tracing({ readFile: () => "x".repeat(1000) });
    syscalls.readFile("/proc/meminfo");
    expect(lines).toEqual([`read-file("/proc/meminfo") = "${"x".repeat(160)}"…`]);
  });

  it("shows bytes that are too few for the struct as they are", () => {
    const { lines, syscalls } = tracing({ ioctl: () => 0 });
    syscalls.ioctl(fd(1), VFIO_IOMMU_MAP_DMA, Uint8Array.of(1, 2));
    expect(lines).toEqual(["ioctl(1, VFIO_IOMMU_MAP_DMA, [01 02]) = 0"]);
  });
});

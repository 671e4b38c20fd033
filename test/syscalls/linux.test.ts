import { constants } from "node:buffer";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { VFIO_GET_API_VERSION, VFIO_IOMMU_MAP_DMA } from "../../src/abi/vfio-container.js";
import { linuxSyscalls } from "../../src/syscalls/linux.js";
import {
  MADV_DONTFORK,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  MFD_CLOEXEC,
  MFD_HUGETLB,
  O_RDWR,
  PROT_READ,
  PROT_WRITE,
} from "../../src/syscalls/mmap-flags.js";
import type { Fd, Syscalls } from "../../src/syscalls/syscalls.js";
import { refusalFrom, refusalOf, thrownBy } from "../support/errors.js";
import { isMapped, needsLinux, onLinux, openFds } from "../support/linux-only.js";
import { fd } from "../support/strict-syscalls.js";

const RW = PROT_READ | PROT_WRITE;
const ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS;
const O_RDONLY = 0;

/** `FIONREAD` on a regular file: how many bytes are left to read, as an int. Every Linux has it. */
const FIONREAD = { name: "FIONREAD", request: 0x541b, argument: "value" } as const;

let syscalls: Syscalls;
let directory: string;

beforeAll(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), "iospan-"));
  if (onLinux) syscalls = linuxSyscalls();
});
afterAll(() => fs.rmSync(directory, { recursive: true }));

/** Runs `action`, and expects as many open descriptors after it as before. */
function withoutLeak<T>(action: () => T): T {
  const before = openFds();
  const result = action();
  expect(openFds()).toEqual(before);
  return result;
}

function bytesAt(address: bigint, length: number): Uint8Array {
  return new Uint8Array(syscalls.view(address, length));
}

function fileWith(text: string): string {
  const file = path.join(directory, `file-${process.hrtime.bigint()}`);
  fs.writeFileSync(file, text);
  return file;
}

describe("linuxSyscalls()", () => {
  needsLinux();

  it("knows the machine's page size", () => {
    expect([4096, 16384, 65536]).toContain(syscalls.pageSize);
  });

  it("reads the limit on locked memory as the shell sees it", () => {
    const [, soft, hard] = /Max locked memory +(\S+) +(\S+)/.exec(fs.readFileSync("/proc/self/limits", "utf8")) ?? [];
    const bytes = (text = "") => (text === "unlimited" ? Number.POSITIVE_INFINITY : Number(text));
    expect(syscalls.memlockLimit()).toEqual({ soft: bytes(soft), hard: bytes(hard) });
  });

  describe("memory", () => {
    it("gives zeroed pages that keep what is written, until they are unmapped", () => {
      const length = 2 * syscalls.pageSize;
      const address = syscalls.mmap({ length, prot: RW, flags: ANONYMOUS });
      expect(address % BigInt(syscalls.pageSize)).toBe(0n);
      expect(bytesAt(address, length).every((byte) => byte === 0)).toBe(true);
      bytesAt(address, length).set([1, 2, 3], syscalls.pageSize - 1);
      expect([
        ...bytesAt(address, length)
          .subarray(syscalls.pageSize - 1)
          .subarray(0, 3),
      ]).toEqual([1, 2, 3]);
      expect(isMapped(address, length)).toBe(true);
      syscalls.munmap(address, length);
      expect(isMapped(address, length)).toBe(false);
    });

    it("shares a memfd's bytes with the file, from the offset asked for", () => {
      const { pageSize } = syscalls;
      const file = syscalls.memfd("test", MFD_CLOEXEC, 2 * pageSize);
      const offset = BigInt(pageSize);
      const address = syscalls.mmap({ length: pageSize, prot: RW, flags: MAP_SHARED, fd: file, offset });
      expect(fs.fstatSync(file).size).toBe(2 * pageSize);
      syscalls.pwrite(file, Uint8Array.of(7, 8), offset);
      expect([...bytesAt(address, 2)]).toEqual([7, 8]);
      bytesAt(address, 2)[0] = 9;
      const read = new Uint8Array(2);
      expect(syscalls.pread(file, read, offset)).toBe(2);
      expect([...read]).toEqual([9, 8]);
      syscalls.munmap(address, pageSize);
      syscalls.close(file);
    });

    it("refuses a view that is too large, which would end the process", () => {
      expect(thrownBy(() => syscalls.view(4096n, constants.MAX_LENGTH + 4096))).toMatchObject({
        code: "ERR_IOSPAN_NOT_SUPPORTED",
        hint: expect.stringContaining(String(constants.MAX_LENGTH)),
      });
    });

    it("replaces what is there with MAP_FIXED, under the same view", () => {
      const length = syscalls.pageSize;
      const address = syscalls.mmap({ length, prot: RW, flags: ANONYMOUS });
      const view = bytesAt(address, length).fill(5);
      expect(syscalls.mmap({ length, prot: RW, flags: ANONYMOUS | MAP_FIXED, address })).toBe(address);
      expect([view[0], view[length - 1]]).toEqual([0, 0]);
      syscalls.munmap(address, length);
    });

    it("takes advice for mapped pages, and passes on that others are ENOMEM", () => {
      const length = syscalls.pageSize;
      const address = syscalls.mmap({ length, prot: RW, flags: ANONYMOUS });
      syscalls.madvise(address, length, MADV_DONTFORK);
      expect(fs.readFileSync("/proc/self/smaps", "utf8")).toMatch(/^VmFlags:.*\bdc\b/m);
      syscalls.munmap(address, length);
      expect(refusalOf(() => syscalls.madvise(address, length, MADV_DONTFORK))).toMatchObject({
        syscall: "madvise",
        errno: errno.ENOMEM,
      });
    });

    it.each([
      ["of no bytes", { length: 0, prot: RW, flags: ANONYMOUS }, errno.EINVAL],
      ["of a file that is not open", { length: 4096, prot: RW, flags: MAP_SHARED, fd: fd(9999) }, errno.EBADF],
    ])("refuses a mapping %s", (_, request, expected) => {
      const error = refusalOf(() => syscalls.mmap(request));
      expect(error).toMatchObject({ syscall: "mmap", errno: expected });
    });

    it("refuses to unmap at an address that is no page's", () => {
      expect(refusalOf(() => syscalls.munmap(1n, 4096))).toMatchObject({ syscall: "munmap", errno: errno.EINVAL });
    });

    it("closes a memfd whose size is refused", () => {
      withoutLeak(() => {
        // Files of huge pages have no sizes in between.
        const error = refusalOf(() => syscalls.memfd("test", MFD_CLOEXEC | MFD_HUGETLB, 4096));
        expect(error).toMatchObject({ errno: errno.EINVAL });
      });
    });

    it("refuses a memfd with a name that is too long", () => {
      withoutLeak(() => {
        const error = refusalOf(() => syscalls.memfd("x".repeat(300), MFD_CLOEXEC, 4096));
        expect(error).toMatchObject({ syscall: "memfd_create", errno: errno.EINVAL });
      });
    });
  });

  describe("files", () => {
    it("says which file is not there", () => {
      withoutLeak(() => {
        const error = refusalOf(() => syscalls.open("/nowhere/at/all", O_RDWR));
        expect(error.errno).toBe(errno.ENOENT);
        expect(error.message).toContain("ENOENT");
        expect(error.message).toContain("/nowhere/at/all");
      });
    });

    it("says which file may not be opened, whether at once or later", async () => {
      const readOnly = "/sys/devices/system/cpu/online"; // sysfs keeps even root from opening it for writing
      const before = openFds();
      const both = [
        refusalOf(() => syscalls.open(readOnly, O_RDWR)),
        await refusalFrom(syscalls.openAsync(readOnly, 2)),
      ];
      for (const error of both) {
        expect(error.errno).toBe(errno.EACCES);
        expect(error.message).toContain(readOnly);
      }
      expect(both[1]).toMatchObject({ syscall: both[0]?.syscall, message: both[0]?.message });
      expect(openFds()).toEqual(before);
    });

    it("names calls as the manual and the other implementations do", () => {
      expect(refusalOf(() => syscalls.open("/nowhere", O_RDWR)).syscall).toBe("openat");
      expect(refusalOf(() => syscalls.pread(fd(9999), new Uint8Array(1), 0n)).syscall).toBe("pread64");
      expect(refusalOf(() => syscalls.pwrite(fd(9999), new Uint8Array(1), 0n)).syscall).toBe("pwrite64");
    });

    it("opens the same file both ways", async () => {
      const file = fileWith("0123");
      for (const opened of [syscalls.open(file, O_RDWR), await syscalls.openAsync(file, O_RDWR)]) {
        const bytes = new Uint8Array(4);
        expect(syscalls.pread(opened, bytes, 0n)).toBe(4);
        expect(Buffer.from(bytes).toString()).toBe("0123");
        syscalls.close(opened);
      }
    });

    it("refuses to close what is not open", () => {
      const opened = syscalls.open(fileWith(""), O_RDWR);
      syscalls.close(opened);
      expect(refusalOf(() => syscalls.close(opened))).toMatchObject({ syscall: "close", errno: errno.EBADF });
    });

    it("reads and writes at offsets beyond 32 bits, and only the bytes it is given", () => {
      const file = syscalls.memfd("test", MFD_CLOEXEC, 2 ** 42 + 8);
      const offset = (1n << 42n) + 3n; // as a region's: index << 40
      const sixteen = new Uint8Array(16).fill(0xee);
      sixteen.set([1, 2], 6);
      expect(syscalls.pwrite(file, sixteen.subarray(6, 8), offset)).toBe(2);
      const into = new Uint8Array(16).fill(0xdd);
      expect(syscalls.pread(file, into.subarray(4, 9), offset - 1n)).toBe(5);
      expect([...into]).toEqual([0xdd, 0xdd, 0xdd, 0xdd, 0, 1, 2, 0, 0, ...Array(7).fill(0xdd)]);
      syscalls.close(file);
    });

    it("reads short at the end of a file, and nothing past it", () => {
      const opened = syscalls.open(fileWith("abc"), O_RDONLY);
      expect(syscalls.pread(opened, new Uint8Array(8), 1n)).toBe(2);
      expect(syscalls.pread(opened, new Uint8Array(8), 100n)).toBe(0);
      syscalls.close(opened);
    });

    it("refuses an offset below 0 as the kernel does", () => {
      const opened = syscalls.open(fileWith("abc"), O_RDWR);
      expect(refusalOf(() => syscalls.pread(opened, new Uint8Array(1), -1n)).errno).toBe(errno.EINVAL);
      expect(refusalOf(() => syscalls.pwrite(opened, Uint8Array.of(88), -1n)).errno).toBe(errno.EINVAL);
      syscalls.close(opened);
    });

    it("refuses to write through a descriptor for reading", () => {
      const opened = syscalls.open(fileWith("abc"), O_RDONLY);
      expect(refusalOf(() => syscalls.pwrite(opened, Uint8Array.of(1), 0n)).errno).toBe(errno.EBADF);
      syscalls.close(opened);
    });

    it("reads and writes small files as a whole", () => {
      const file = fileWith("one\ntwo");
      expect(syscalls.readFile(file)).toBe("one\ntwo");
      syscalls.writeFile(file, "1");
      expect(Buffer.from(syscalls.readBytes(file)).toString()).toBe("1ne\ntwo"); // sysfs stores are not truncations
    });

    it("makes no file by writing to it, and leaves nothing open", () => {
      const missing = path.join(directory, "missing");
      withoutLeak(() => expect(refusalOf(() => syscalls.writeFile(missing, "x")).errno).toBe(errno.ENOENT));
      expect(fs.existsSync(missing)).toBe(false);
    });

    it("leaves nothing open when a write is refused", () => {
      withoutLeak(() => {
        const error = refusalOf(() => syscalls.writeFile("/proc/self/oom_score_adj", "not a number"));
        expect(error.errno).toBe(errno.EINVAL);
        expect(error.message).toContain("/proc/self/oom_score_adj");
      });
    });

    it.each(["readFile", "readBytes", "readDirectory", "readLink"] as const)("%s says what is not there", (call) => {
      const error = refusalOf(() => syscalls[call]("/nowhere/at/all"));
      expect(error.errno).toBe(errno.ENOENT);
      expect(error.message).toContain("/nowhere/at/all");
    });

    it("lists a directory in order", () => {
      const inside = fs.mkdtempSync(path.join(directory, "list-"));
      for (const name of ["b", "a10", "a9", "B"]) fs.writeFileSync(path.join(inside, name), "");
      expect(syscalls.readDirectory(inside)).toEqual(["B", "a10", "a9", "b"]);
    });

    it("reads a link as it was written", () => {
      fs.symlinkSync("../not/resolved", path.join(directory, "link"));
      expect(syscalls.readLink(path.join(directory, "link"))).toBe("../not/resolved");
    });
  });

  describe("ioctls", () => {
    it("names the ioctl that a wrong descriptor does not know", () => {
      const file = syscalls.memfd("test", MFD_CLOEXEC, 4096);
      for (const argument of [0, new Uint8Array(32)]) {
        const error = refusalOf(() => syscalls.ioctl(file, VFIO_IOMMU_MAP_DMA, argument));
        expect(error).toMatchObject({ syscall: "VFIO_IOMMU_MAP_DMA", errno: errno.ENOTTY });
      }
      syscalls.close(file);
    });

    it("gives the kernel the very bytes, inside a larger buffer too", async () => {
      const file = syscalls.memfd("test", MFD_CLOEXEC, 0x01020304);
      const bytes = new Uint8Array(20).fill(0xaa);
      expect(syscalls.ioctl(file, FIONREAD, bytes.subarray(4, 8))).toBe(0);
      expect(await syscalls.ioctlAsync(file, FIONREAD, bytes.subarray(12, 16))).toBe(0);
      const [quiet, size] = [Array(4).fill(0xaa), [4, 3, 2, 1]];
      expect([...bytes]).toEqual([...quiet, ...size, ...quiet, ...size, ...quiet]);
      syscalls.close(file);
    });

    it("keeps apart the errnos of calls that run at once", async () => {
      const file = syscalls.memfd("test", MFD_CLOEXEC, 77);
      const calls = [
        () => refusalFrom(syscalls.ioctlAsync(fd(9999), VFIO_GET_API_VERSION, 0)).then(({ errno }) => errno),
        () => refusalFrom(syscalls.ioctlAsync(file, VFIO_IOMMU_MAP_DMA, new Uint8Array(8))).then(({ errno }) => errno),
        () => syscalls.ioctlAsync(file, FIONREAD, new Uint8Array(4)),
      ];
      const answers = await Promise.all(
        Array.from({ length: 90 }, (_, turn) => calls[turn % 3]?.()).map(async (answer, turn) => {
          // What the main thread's own calls fail with must not show up in the others' answers.
          if (turn % 7 === 0) expect(refusalOf(() => syscalls.munmap(1n, 4096)).errno).toBe(errno.EINVAL);
          return answer;
        }),
      );
      expect(answers).toEqual(Array.from({ length: 90 }, (_, turn) => [errno.EBADF, errno.ENOTTY, 0][turn % 3]));
      syscalls.close(file);
    });

    it("takes as many calls at once as a program makes", async () => {
      const file = syscalls.memfd("test", MFD_CLOEXEC, 77);
      const answers = await Promise.allSettled(
        Array.from({ length: 1000 }, () => syscalls.ioctlAsync(file, FIONREAD, new Uint8Array(4))),
      );
      syscalls.close(file);
      const failed = answers.flatMap((answer) => (answer.status === "rejected" ? [String(answer.reason)] : []));
      expect([...new Set(failed)]).toEqual([]);
    });

    it("writes into the bytes of each of many calls that run at once", async () => {
      const files = Array.from({ length: 20 }, (_, index) => syscalls.memfd("test", MFD_CLOEXEC, 1000 + index));
      const sizes = await Promise.all(
        files.map(async (file) => {
          const bytes = new Uint8Array(4);
          await syscalls.ioctlAsync(file, FIONREAD, bytes);
          return new DataView(bytes.buffer).getInt32(0, true);
        }),
      );
      expect(sizes).toEqual(files.map((_, index) => 1000 + index));
      for (const file of files) syscalls.close(file);
    });
  });

  describe("eventfds", () => {
    function withEventfd<T>(use: (eventfd: Fd) => T): T {
      const eventfd = syscalls.eventfd();
      return use(eventfd);
    }

    it("count what was written since they were read, and nothing is 0", () => {
      withEventfd((eventfd) => {
        expect(syscalls.readEventfd(eventfd)).toBe(0);
        syscalls.writeEventfd(eventfd, 2);
        syscalls.writeEventfd(eventfd, 3);
        expect(syscalls.readEventfd(eventfd)).toBe(5);
        expect(syscalls.readEventfd(eventfd)).toBe(0);
        syscalls.close(eventfd);
      });
    });

    it("are not inherited by programs this one starts", () => {
      withEventfd((eventfd) => {
        const flags = /flags:\s+(\d+)/.exec(fs.readFileSync(`/proc/self/fdinfo/${eventfd}`, "utf8"))?.[1] ?? "";
        expect(Number.parseInt(flags, 8) & 0o2000000).not.toBe(0);
        syscalls.close(eventfd);
      });
    });

    it("call back from the event loop when they are signalled, and again each time", async () => {
      const eventfd = syscalls.eventfd();
      const counts: number[] = [];
      let arrived = () => {};
      const stop = syscalls.watch(eventfd, () => {
        counts.push(syscalls.readEventfd(eventfd));
        arrived();
      });
      for (const count of [4, 1]) {
        const arrival = new Promise<void>((resolve) => {
          arrived = resolve;
        });
        syscalls.writeEventfd(eventfd, count);
        expect(counts).not.toContain(count); // not from within the write
        await arrival;
      }
      stop();
      expect(counts).toEqual([4, 1]);
      syscalls.close(eventfd);
    });

    it("do not call back any more once the watch is stopped, and stopping twice is allowed", async () => {
      const [stopped, other] = [syscalls.eventfd(), syscalls.eventfd()];
      let calls = 0;
      const stop = syscalls.watch(stopped, () => {
        calls += 1;
      });
      syscalls.writeEventfd(stopped, 1);
      stop();
      stop();
      // A second eventfd, signalled later, marks that the loop has been round.
      await new Promise<void>((resolve) => {
        const stopOther = syscalls.watch(other, () => {
          stopOther();
          resolve();
        });
        syscalls.writeEventfd(other, 1);
      });
      expect(calls).toBe(0);
      for (const eventfd of [stopped, other]) syscalls.close(eventfd);
    });

    it("refuse what is not open", () => {
      expect(refusalOf(() => syscalls.readEventfd(fd(9999))).errno).toBe(errno.EBADF);
      expect(refusalOf(() => syscalls.writeEventfd(fd(9999), 1)).errno).toBe(errno.EBADF);
    });
  });
});

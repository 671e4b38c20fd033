import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { VFIO_GET_API_VERSION, VFIO_SET_IOMMU } from "../../src/abi/vfio-container.js";
import { faulty } from "../../src/syscalls/faulty.js";
import { refusalFrom, refusalOf } from "../support/errors.js";
import { fd, strictSyscalls } from "../support/strict-syscalls.js";

/** Remembers what reached it. */
function recording() {
  const reached: string[] = [];
  const syscalls = strictSyscalls({
    open: (path) => {
      reached.push(`open ${path}`);
      return fd(3);
    },
    openAsync: async (path) => {
      reached.push(`openAsync ${path}`);
      return fd(3);
    },
    close: (closed) => {
      reached.push(`close ${closed}`);
    },
    ioctl: (_, { name }) => reached.push(name),
    ioctlAsync: async (_, { name }) => reached.push(`${name} later`),
    readFile: (path) => {
      reached.push(`readFile ${path}`);
      return "text";
    },
    view: (_, length) => new ArrayBuffer(length),
  });
  return { reached, syscalls };
}

describe("faulty", () => {
  it("lets everything pass without a plan, answers included", async () => {
    const { reached, syscalls } = recording();
    const tested = faulty(syscalls);
    expect(tested.open("a", 0)).toBe(3);
    expect(await tested.openAsync("b", 0)).toBe(3);
    expect(tested.readFile("c")).toBe("text");
    expect(reached).toEqual(["open a", "openAsync b", "readFile c"]);
    expect(tested).toMatchObject({ fault: undefined, matched: 0, failed: undefined, pageSize: 4096 });
    expect(tested.view(0n, 5).byteLength).toBe(5);
  });

  it("fails the nth call, does not perform it, and none other", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 12 }), (nth, calls) => {
        const { reached, syscalls } = recording();
        const tested = faulty(syscalls, { nth, errno: errno.EIO });
        for (let call = 1; call <= calls; call += 1) {
          if (call === nth) expect(refusalOf(() => tested.open(`${call}`, 0)).errno).toBe(errno.EIO);
          else expect(tested.open(`${call}`, 0)).toBe(3);
        }
        expect(tested.matched).toBe(calls);
        expect(tested.failed?.path).toBe(nth <= calls ? `${nth}` : undefined);
        expect(reached).not.toContain(`open ${nth}`);
        expect(reached).toHaveLength(calls - (nth <= calls ? 1 : 0));
      }),
    );
  });

  it("counts only the calls that match", () => {
    const { reached, syscalls } = recording();
    const tested = faulty(syscalls, {
      match: ({ ioctl }) => ioctl?.name === "VFIO_SET_IOMMU",
      nth: 2,
      errno: errno.EPERM,
    });
    tested.open("a", 0);
    tested.ioctl(fd(3), VFIO_SET_IOMMU, 1);
    tested.ioctl(fd(3), VFIO_GET_API_VERSION, 0);
    expect(tested.matched).toBe(1);
    const error = refusalOf(() => tested.ioctl(fd(3), VFIO_SET_IOMMU, 1));
    expect(error).toMatchObject({ syscall: "VFIO_SET_IOMMU", errno: errno.EPERM });
    expect(error.message).toBe("VFIO_SET_IOMMU: EPERM (injected)");
    expect(reached).toEqual(["open a", "VFIO_SET_IOMMU", "VFIO_GET_API_VERSION"]);
    tested.ioctl(fd(3), VFIO_SET_IOMMU, 1);
    expect(tested.matched).toBe(3);
  });

  it("tells which call failed, with its arguments", () => {
    const tested = faulty(recording().syscalls, { nth: 1, errno: errno.EPERM });
    expect(tested.failed).toBeUndefined();
    refusalOf(() => tested.ioctl(fd(7), VFIO_SET_IOMMU, 3));
    expect(tested.failed).toMatchObject({ name: "ioctl", fd: 7, ioctl: VFIO_SET_IOMMU, argument: 3 });
  });

  it("names the call that failed by the manual's name", () => {
    const tested = faulty(recording().syscalls, { nth: 1, errno: errno.ENOENT });
    expect(refusalOf(() => tested.open("/dev/vfio/9", 0))).toMatchObject({ syscall: "openat", errno: errno.ENOENT });
  });

  it("performs a close that fails, as Linux does", () => {
    const { reached, syscalls } = recording();
    const tested = faulty(syscalls, { nth: 1, errno: errno.EINTR });
    expect(refusalOf(() => tested.close(fd(5)))).toMatchObject({ syscall: "close", errno: errno.EINTR });
    expect(reached).toEqual(["close 5"]);
  });

  it("rejects asynchronous calls, rather than throw at the caller", async () => {
    const { reached, syscalls } = recording();
    const tested = faulty(syscalls, { nth: 1, errno: errno.EACCES });
    const opening = tested.openAsync("a", 0);
    expect((await refusalFrom(opening)).errno).toBe(errno.EACCES);
    tested.fault = { nth: 1, errno: errno.EFAULT };
    const calling = tested.ioctlAsync(fd(3), VFIO_SET_IOMMU, 3);
    expect(await refusalFrom(calling)).toMatchObject({ syscall: "VFIO_SET_IOMMU", errno: errno.EFAULT });
    expect(reached).toEqual([]);
  });

  it("starts counting anew when the plan is replaced", () => {
    const { reached, syscalls } = recording();
    const tested = faulty(syscalls, { nth: 2, errno: errno.EIO });
    tested.open("a", 0);
    refusalOf(() => tested.open("b", 0));
    const plan = { nth: 2, errno: errno.ENOMEM };
    tested.fault = plan;
    expect(tested).toMatchObject({ fault: plan, matched: 0, failed: undefined });
    tested.open("c", 0);
    expect(refusalOf(() => tested.open("d", 0)).errno).toBe(errno.ENOMEM);
    tested.fault = undefined;
    tested.open("e", 0);
    tested.open("f", 0);
    expect(tested.matched).toBe(0);
    expect(reached).toEqual(["open a", "open c", "open e", "open f"]);
  });

  it("can fail every kind of call", () => {
    const tested = faulty(strictSyscalls());
    const calls: readonly (() => unknown)[] = [
      () => tested.open("", 0),
      () => tested.ioctl(fd(1), VFIO_SET_IOMMU, 0),
      () => tested.pread(fd(1), new Uint8Array(1), 0n),
      () => tested.pwrite(fd(1), new Uint8Array(1), 0n),
      () => tested.mmap({ length: 1, prot: 0, flags: 0 }),
      () => tested.munmap(0n, 1),
      () => tested.madvise(0n, 1, 0),
      () => tested.memfd("", 0, 1),
      () => tested.eventfd(),
      () => tested.readEventfd(fd(1)),
      () => tested.writeEventfd(fd(1), 1),
      () => tested.watch(fd(1), () => {}),
      () => tested.readFile(""),
      () => tested.readBytes(""),
      () => tested.writeFile("", ""),
      () => tested.readDirectory(""),
      () => tested.readLink(""),
      () => tested.memlockLimit(),
    ];
    for (const call of calls) {
      tested.fault = { nth: 1, errno: errno.EIO };
      expect(refusalOf(call).errno, String(call)).toBe(errno.EIO);
    }
  });
});

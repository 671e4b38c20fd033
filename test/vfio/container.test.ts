import { beforeEach, describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { dmaUnmap } from "../../src/abi/vfio-container.js";
import { iova } from "../../src/iova.js";
import { faulty } from "../../src/syscalls/faulty.js";
import type { Syscalls } from "../../src/syscalls/syscalls.js";
import { Container, type DmaMapping } from "../../src/vfio/container.js";
import { Group } from "../../src/vfio/group.js";
import { errorFrom, errorOf, rejectionOf, thrownBy } from "../support/errors.js";
import { strictSyscalls } from "../support/strict-syscalls.js";
import { Type1Kernel } from "../support/type1-kernel.js";

const IOMMU = "smmu3.0x9050000";
const DEVICE = "0000:02:00.0";
const ABOUT = { device: DEVICE, iommu: IOMMU };
const PAGE = 4096;

let kernel: Type1Kernel;
beforeEach(() => {
  kernel = new Type1Kernel();
});

const openGroup = () => Group.open(kernel.syscalls, { id: 7, iommu: IOMMU, device: DEVICE });

/** A container with the group inside. */
async function attached(): Promise<{ container: Container; group: Group }> {
  const [container, group] = [await Container.open(kernel.syscalls), await openGroup()];
  container.attach(group);
  kernel.log.length = 0;
  return { container, group };
}

const mapping: DmaMapping = { iova: iova(0x10000), address: 0x7e0000000000n, size: 4 * PAGE, access: "read-write" };

describe("opening a container", () => {
  it("makes sure of the version and of type1, and finds out whose it is", async () => {
    const container = await Container.open(kernel.syscalls);
    expect(container).toMatchObject({ closed: false, iommus: "", kind: "type1" });
    expect(kernel.log).toEqual(["VFIO_GET_API_VERSION 20", "VFIO_CHECK_EXTENSION 20", "VFIO_CHECK_EXTENSION 20"]);
  });

  it.each([
    ["ENOENT", "ERR_IOSPAN_NO_VFIO", "modprobe"],
    ["ENODEV", "ERR_IOSPAN_NO_VFIO", "modprobe"],
    ["EACCES", "ERR_IOSPAN_NO_PERMISSION", "chmod 0666 /dev/vfio/vfio"],
    ["EPERM", "ERR_IOSPAN_NO_PERMISSION", "--device /dev/vfio/vfio"],
    ["ENXIO", "ERR_IOSPAN_NO_VFIO", "modprobe"],
    ["EMFILE", "ERR_IOSPAN_SYSCALL", "ulimit -n"],
    ["ENFILE", "ERR_IOSPAN_SYSCALL", "fs.file-max"],
    ["ENOMEM", "ERR_IOSPAN_SYSCALL", "free memory"],
    ["EIO", "ERR_IOSPAN_SYSCALL", "dmesg"],
  ] as const)("explains %s as %s", async (name, code, hint) => {
    kernel.refuse["/dev/vfio/vfio"] = name;
    const error = await errorFrom(Container.open(kernel.syscalls));
    expect(error).toMatchObject({ code, errno: errno[name] });
    expect(error.hint).toContain(hint);
    if (hint !== "modprobe") expect(error.hint).not.toContain("modprobe");
    expect(await errorFrom(Container.open(kernel.syscalls, ABOUT))).toMatchObject(ABOUT);
  });

  it("closes it again when the kernel speaks another version, or has no type1", async () => {
    kernel.version = 1;
    expect(await errorFrom(Container.open(kernel.syscalls, ABOUT))).toMatchObject({
      ...ABOUT,
      code: "ERR_IOSPAN_NO_VFIO",
    });
    expect(kernel.log.at(-1)).toBe("close 20");
    kernel.version = 0;
    kernel.hasType1 = false;
    const error = await errorFrom(Container.open(kernel.syscalls));
    expect(error.code).toBe("ERR_IOSPAN_NO_VFIO");
    expect(error.hint).toContain("modprobe vfio_iommu_type1");
    expect(kernel.log.at(-1)).toBe("close 20");
  });

  it.each(["VFIO_GET_API_VERSION", "VFIO_CHECK_EXTENSION"])(
    "closes it again, and explains, when %s fails",
    async (call) => {
      kernel.refuse[call] = "EFAULT";
      expect(await errorFrom(Container.open(kernel.syscalls, ABOUT))).toMatchObject({ ...ABOUT, errno: errno.EFAULT });
      expect(kernel.log.at(-1)).toBe("close 20");
    },
  );
});

describe("groups of a container", () => {
  it("come in by SET_CONTAINER, the first one with SET_IOMMU", async () => {
    const [container, first, second] = [await Container.open(kernel.syscalls), await openGroup(), await openGroup()];
    kernel.log.length = 0;
    container.attach(first);
    expect(kernel.log).toEqual(["VFIO_GROUP_SET_CONTAINER 21", "VFIO_SET_IOMMU 20"]);
    container.attach(second);
    expect(kernel.log.slice(2)).toEqual(["VFIO_GROUP_SET_CONTAINER 21"]);
    expect(container).toMatchObject({ iommus: IOMMU, devices: DEVICE });
    expect([...container.groups]).toEqual([first, second]);
  });

  it("stay out when the IOMMU cannot be set up", async () => {
    const [container, group] = [await Container.open(kernel.syscalls), await openGroup()];
    kernel.refuse["VFIO_SET_IOMMU"] = "EPERM";
    const error = errorOf(() => container.attach(group));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_UNSAFE_INTERRUPTS", iommu: IOMMU, device: "0000:02:00.0" });
    expect(kernel.log.at(-1)).toBe("VFIO_GROUP_UNSET_CONTAINER 21");
    expect(container.groups.size).toBe(0);
  });

  it("stay out when the container refuses them", async () => {
    const [container, group] = [await Container.open(kernel.syscalls), await openGroup()];
    kernel.refuse["VFIO_GROUP_SET_CONTAINER"] = "EINVAL";
    expect(errorOf(() => container.attach(group)).code).toBe("ERR_IOSPAN_ATTACH_REFUSED");
    expect(container.groups.size).toBe(0);
    expect(kernel.log.at(-1)).toBe("VFIO_GROUP_SET_CONTAINER 21");
  });

  it("are still inside when they cannot leave, until they are forgotten", async () => {
    const { container, group } = await attached();
    kernel.refuse["VFIO_GROUP_UNSET_CONTAINER"] = "EBUSY";
    expect(errorOf(() => container.detach(group)).code).toBe("ERR_IOSPAN_BUSY");
    expect(container.groups.size).toBe(1);
    container.forget(group);
    expect(container.groups.size).toBe(0);
  });
});

describe("what a container says of itself", () => {
  it("is asked with as much room as the answer needs", async () => {
    const { container } = await attached();
    kernel.ranges = [
      { start: 0n, end: 0x7ffffffn },
      { start: 0x8100000n, end: 2n ** 48n - 1n },
    ];
    kernel.capacity = 10;
    expect(container.info()).toEqual({ pageSizes: 0x40201000n, ranges: kernel.ranges, available: 10 });
    expect(kernel.log).toEqual(["VFIO_IOMMU_GET_INFO 20", "VFIO_IOMMU_GET_INFO 20"]);
  });

  it("may be less on older kernels", async () => {
    const { container } = await attached();
    kernel.leaveOut.add("ranges").add("available");
    expect(container.info()).toEqual({
      pageSizes: 0x40201000n,
      ranges: [{ start: 0n, end: 2n ** 64n - 1n }],
      available: undefined,
    });
  });

  it("is explained when the kernel does not say it", async () => {
    const { container } = await attached();
    kernel.refuse["VFIO_IOMMU_GET_INFO"] = "EINVAL";
    expect(errorOf(() => container.info())).toMatchObject({ ...ABOUT, errno: errno.EINVAL });
  });
});

describe.each(["at once", "off the event loop"])("mapping and unmapping %s", (when) => {
  const map = async (container: Container, each: DmaMapping) =>
    when === "at once" ? container.map(each) : container.mapAsync(each);
  const unmap = async (container: Container, size = mapping.size) =>
    when === "at once" ? container.unmap(mapping.iova, size) : container.unmapAsync(mapping.iova, size);

  it.each([
    ["read", 1],
    ["write", 2],
    ["read-write", 3],
  ] as const)("gives devices %s access", async (access, flags) => {
    const { container } = await attached();
    await map(container, { ...mapping, access });
    expect([...kernel.entries]).toEqual([[0x10000n, { size: 0x4000n, vaddr: mapping.address, flags }]]);
    expect(await unmap(container)).toBe(mapping.size);
    expect(kernel.entries.size).toBe(0);
  });

  it("tells how much had been mapped", async () => {
    const { container } = await attached();
    await map(container, { ...mapping, size: PAGE });
    expect(await unmap(container)).toBe(PAGE);
    expect(await unmap(container)).toBe(0);
  });

  it.each([
    ["EEXIST", "ERR_IOSPAN_MAP_OVERLAP", "unmap it first"],
    ["ENOSPC", "ERR_IOSPAN_DMA_ENTRY_LIMIT", "dma_entry_limit"],
    ["ENOMEM", "ERR_IOSPAN_MEMLOCK", "ulimit -l"],
    ["EFAULT", "ERR_IOSPAN_MAP_MEMORY", "writable"],
    ["EINVAL", "ERR_IOSPAN_MAP_RANGE", "iovaRanges"],
    ["EOVERFLOW", "ERR_IOSPAN_MAP_RANGE", "iovaRanges"],
    ["EIO", "ERR_IOSPAN_MAP_REFUSED", "dmesg"],
  ] as const)("explains %s as %s", async (name, code, hint) => {
    const { container } = await attached();
    kernel.refuse["VFIO_IOMMU_MAP_DMA"] = name;
    const error = await errorFrom(map(container, mapping));
    expect(error).toMatchObject({ code, errno: errno[name], syscall: "VFIO_IOMMU_MAP_DMA", ...ABOUT });
    expect(error.hint).toContain(hint);
  });

  it("says how much may be locked when it is too much", async () => {
    const { container } = await attached();
    kernel.refuse["VFIO_IOMMU_MAP_DMA"] = "ENOMEM";
    expect((await errorFrom(map(container, mapping))).message).toContain(
      "is 64 KiB, or the machine is short of memory",
    );
  });

  it("names all devices of the container", async () => {
    const { container } = await attached();
    container.attach(await Group.open(kernel.syscalls, { id: 7, iommu: "smmu3.0x9060000", device: "0000:03:00.0" }));
    kernel.refuse["VFIO_IOMMU_MAP_DMA"] = "EEXIST";
    expect(await errorFrom(map(container, mapping))).toMatchObject({
      device: "0000:02:00.0, 0000:03:00.0",
      iommu: "smmu3.0x9050000, smmu3.0x9060000",
    });
  });

  it("is told of the refusal also when the limit on locked memory cannot be read", async () => {
    const syscalls = faulty(kernel.syscalls, { match: ({ name }) => name === "getrlimit", nth: 1, errno: errno.EPERM });
    const container = await Container.open(syscalls);
    container.attach(await openGroup());
    kernel.refuse["VFIO_IOMMU_MAP_DMA"] = "ENOMEM";
    const error = await errorFrom(map(container, mapping));
    expect(syscalls.failed?.name).toBe("getrlimit");
    expect(error).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_MEMLOCK", errno: errno.ENOMEM });
    expect(error.message).toContain("the limit for the process is unknown");
  });

  it("does not believe that more was unmapped than asked for", async () => {
    const { openAsync, close, ioctl } = kernel.syscalls;
    const lie: typeof ioctl = (target, call, argument) => {
      if (call.name !== "VFIO_IOMMU_UNMAP_DMA" || !(argument instanceof Uint8Array))
        return ioctl(target, call, argument);
      dmaUnmap.patch(argument, 0, { size: 2n ** 40n });
      return 0;
    };
    const ioctlAsync: Syscalls["ioctlAsync"] = async (target, call, argument) => lie(target, call, argument);
    const lied = await Container.open(strictSyscalls({ openAsync, close, ioctl: lie, ioctlAsync }));
    lied.attach(await openGroup());
    expect(await errorFrom(unmap(lied))).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_MALFORMED_ANSWER" });
  });

  it("explains an unmap that would cut a mapping in two", async () => {
    const { container } = await attached();
    await map(container, mapping);
    const error = await errorFrom(unmap(container, PAGE));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_UNMAP_REFUSED", errno: errno.EINVAL, ...ABOUT });
    expect(kernel.entries.size).toBe(1);
  });
});

describe("asking whether something is mapped", () => {
  it("finds a mapping by any part of it, and changes nothing", async () => {
    const { container } = await attached();
    container.map(mapping);
    expect(container.isMapped(iova(0x10000), 0x4000n)).toBe(true);
    expect(container.isMapped(iova(0x13000), 0x1000n)).toBe(true);
    expect(container.isMapped(iova(0x0), 0x11000n)).toBe(true);
    expect(container.isMapped(iova(0x14000), 0x1000n)).toBe(false);
    expect(container.isMapped(iova(0x0), 0x10000n)).toBe(false);
    expect(container.isMapped(iova(2n ** 50n), 0x1000n)).toBe(false); // outside the ranges
    expect(kernel.entries.size).toBe(1);
  });

  it("finds a mapping also when no entry is left for another", async () => {
    const { container } = await attached();
    kernel.capacity = 1;
    container.map(mapping);
    expect(container.isMapped(iova(0x10000), 0x1000n)).toBe(true);
    expect(container.isMapped(iova(0x20000), 0x1000n)).toBe(false);
  });

  it.each([0x4000n, 0x10000n])(
    "finds a mapping behind an IOMMU with pages of %s bytes, on a machine of 4 KiB",
    async (granule) => {
      // The kernel looks at the alignment of the memory first, and answers EINVAL (vfio_dma_do_map).
      const { container } = await attached();
      kernel.granule = granule;
      kernel.pageSizes = granule;
      const size = Number(granule);
      container.map({ ...mapping, iova: iova(4n * granule), address: 0x7e0000000000n, size });
      expect(container.isMapped(iova(4n * granule), granule)).toBe(true);
      expect(container.isMapped(iova(5n * granule), granule)).toBe(false);
    },
  );

  it("does not take a refusal that says nothing for an answer", async () => {
    const { container } = await attached();
    kernel.refuse["VFIO_IOMMU_MAP_DMA"] = "EPERM";
    const error = errorOf(() => container.isMapped(iova(0x10000), 0x1000n));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_SYSCALL", errno: errno.EPERM, ...ABOUT });
  });

  it("undoes the mapping, and complains, if the kernel makes one after all", async () => {
    const { container } = await attached();
    const { openAsync, close, ioctl, munmap } = kernel.syscalls;
    const lax = await Container.open(strictSyscalls({ openAsync, close, ioctl, munmap, mmap: () => 0x7d0000000000n }));
    lax.attach(await openGroup());
    expect(errorOf(() => lax.isMapped(iova(0x10000), 0x1000n)).code).toBe("ERR_IOSPAN_MALFORMED_ANSWER");
    expect(kernel.entries.size).toBe(0);
    container.close();
  });

  it("is explained when there is no address space left to ask with", async () => {
    const { container } = await attached();
    kernel.refuse["mmap"] = "ENOMEM";
    expect(errorOf(() => container.isMapped(iova(0), 0x1000n)).errno).toBe(errno.ENOMEM);
  });
});

describe("closing a container", () => {
  it("closes the file once, and gives back what it asked with", async () => {
    const { container } = await attached();
    container.isMapped(iova(0), 0x1000n);
    kernel.log.length = 0;
    container.close();
    container.close();
    container[Symbol.dispose]();
    expect(kernel.log.at(-1)).toBe("close 20");
    expect(kernel.log.filter((line) => line.startsWith("close"))).toHaveLength(1);
    expect(kernel.log[0]).toBe("munmap");
    expect(container.closed).toBe(true);
  });

  it("counts as closed even if close reports an error, which it explains", async () => {
    const { container } = await attached();
    kernel.refuse["close 20"] = "EIO";
    expect(errorOf(() => container.close())).toMatchObject({
      ...ABOUT,
      code: "ERR_IOSPAN_SYSCALL",
      errno: errno.EIO,
    });
    container.close();
    expect(container.closed).toBe(true);
  });

  it("closes the file also when giving back fails", async () => {
    const syscalls = faulty(kernel.syscalls);
    const container = await Container.open(syscalls);
    container.isMapped(iova(0), 0x1000n);
    let refusals = 2; // a release is tried twice
    syscalls.fault = { match: ({ name }) => name === "munmap" && refusals-- > 0, nth: 1, errno: errno.ENOMEM };
    container.close();
    expect(kernel.log.at(-1)).toBe("close 20");
  });

  it("leaves nothing that can be done with it", async () => {
    const { container, group } = await attached();
    container.close();
    kernel.log.length = 0;
    for (const use of [
      () => container.map(mapping),
      () => container.unmap(mapping.iova, PAGE),
      () => container.info(),
      () => container.isMapped(mapping.iova, 4096n),
      () => container.attach(group),
    ]) {
      expect(thrownBy(use), String(use)).toMatchObject({ code: "ERR_IOSPAN_CLOSED" });
    }
    for (const use of [container.mapAsync(mapping), container.unmapAsync(mapping.iova, PAGE)]) {
      expect(await rejectionOf(use)).toMatchObject({ code: "ERR_IOSPAN_CLOSED" });
    }
    expect(kernel.log.filter((line) => line.startsWith("VFIO"))).toEqual([]);
  });
});

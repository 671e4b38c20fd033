import { describe, expect, it } from "vitest";
import { type ErrnoName, errno } from "../../src/abi/errno.js";
import { dmaMap, VFIO_IOMMU_MAP_DMA } from "../../src/abi/vfio-container.js";
import { iova } from "../../src/iova.js";
import type { SimulatedKernel } from "../../src/sim/linux/kernel.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { type FaultySyscalls, faulty } from "../../src/syscalls/faulty.js";
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from "../../src/syscalls/mmap-flags.js";
import { Container, type DmaMapping } from "../../src/vfio/container.js";
import { Device } from "../../src/vfio/device.js";
import { Group } from "../../src/vfio/group.js";
import { errorFrom, errorOf } from "../support/errors.js";

// A Container where the kernel's is an iommufd.

const [FIRST, SECOND] = ["0000:02:00.0", "0000:22:00.0"] as const;
const IOMMUS = { [FIRST]: "smmu3.0x000000000c000000", [SECOND]: "smmu3.0x000000000c020000" } as const;
const ABOUT = { device: FIRST, iommu: IOMMUS[FIRST] };
const PAGE = 4096;

interface Bench {
  readonly kernel: SimulatedKernel;
  readonly syscalls: FaultySyscalls;
  readonly container: Container;
  /** Of anonymous memory. */
  readonly address: bigint;
}

async function bench(): Promise<Bench> {
  const kernel = machineOne({ container: "iommufd", iommufd: true });
  const syscalls = faulty(kernel);
  const request = { length: 16 * PAGE, prot: PROT_READ | PROT_WRITE, flags: MAP_PRIVATE | MAP_ANONYMOUS };
  return { kernel, syscalls, container: await Container.open(syscalls), address: kernel.mmap(request) };
}

const openGroup = ({ kernel, syscalls }: Bench, device: keyof typeof IOMMUS = FIRST) => {
  const link = kernel.readLink(`/sys/bus/pci/devices/${device}/iommu_group`);
  const id = Number(link.slice(link.lastIndexOf("/") + 1));
  return Group.open(syscalls, { id, iommu: IOMMUS[device], device });
};

const openDevice = ({ syscalls }: Bench, group: Group) =>
  Device.open(syscalls, group, { name: group.device, bus: "pci", iommu: group.iommu });

async function attached() {
  const parts = await bench();
  const group = await openGroup(parts);
  parts.container.attach(group);
  return { ...parts, group };
}

async function opened() {
  const parts = await attached();
  return { ...parts, device: await openDevice(parts, parts.group) };
}

const at = (start: number, pages: number, address: bigint): DmaMapping => ({
  iova: iova(start),
  address,
  size: pages * PAGE,
  access: "read-write",
});

describe("a container that is an iommufd", () => {
  it("says so, and can be asked for whole mappings; VFIO's own says what it is, and cannot", async () => {
    const { container } = await bench();
    expect(container.kind).toBe("iommufd");
    expect(container.isWhole).toBeTypeOf("function");
    const own = await Container.open(machineOne());
    expect([own.kind, own.isWhole]).toEqual(["type1", undefined]);
  });

  it("has one set of mappings for two SMMUs, with a page table for each", async () => {
    const parts = await opened();
    const { kernel, container, address } = parts;
    container.map(at(0x40_0000, 4, address));
    const second = await openGroup(parts, SECOND);
    container.attach(second);
    await openDevice(parts, second);
    const [ioas] = kernel.iommufds[0]?.ioases ?? [];
    expect(ioas?.hwpts.map(({ iommu }) => iommu)).toEqual(Object.values(IOMMUS));
    expect(ioas?.hwpts.map(({ mappings }) => mappings.length)).toEqual([1, 1]);
    expect(container.iommus).toBe(Object.values(IOMMUS).join(", "));
    expect(kernel.pinnedPages).toBe(4);
  });

  it("drops for the next group what it kept for nobody", async () => {
    const parts = await opened();
    const { kernel, container, group, device, address } = parts;
    container.map(at(0x40_0000, 4, address));
    await device.close();
    container.detach(group);
    expect(kernel.iommufds[0]?.ioases[0]?.areas).toHaveLength(1);
    expect(kernel.pinnedPages).toBe(0);
    container.attach(group);
    expect(kernel.iommufds[0]?.ioases[0]?.areas).toEqual([]);
    expect(container.isMapped(iova(0x40_0000), BigInt(4 * PAGE))).toBe(false);
    // What it forgot cannot be cut any more.
    expect(container.unmap(iova(0x40_0000), PAGE)).toBe(0);
  });

  it("keeps a group outside that it could not be cleared for", async () => {
    const parts = await attached();
    const { syscalls, container, group, kernel } = parts;
    container.detach(group);
    syscalls.fault = { match: ({ ioctl }) => ioctl?.name === "VFIO_IOMMU_UNMAP_DMA", nth: 1, errno: errno.EIO };
    expect(errorOf(() => container.attach(group))).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_SYSCALL" });
    expect(container.groups.size).toBe(0);
    syscalls.fault = undefined;
    container.attach(group);
    group.close();
    container.close();
    expect(kernel.openFds).toEqual([]);
  });

  it("lets no group go whose devices are open, which the kernel would", async () => {
    const parts = await opened();
    const { container, group, device } = parts;
    const other = await openDevice(parts, group);
    expect(errorOf(() => container.detach(group))).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_BUSY" });
    await device.close();
    expect(errorOf(() => container.detach(group)).message).toContain("1 of its devices is open");
    await other.close();
    container.detach(group);
    expect(container.groups.size).toBe(0);
  });

  it("counts a device as closed that was not opened, or told nothing", async () => {
    const parts = await attached();
    const { syscalls, container, group } = parts;
    for (const call of ["VFIO_GROUP_GET_DEVICE_FD", "VFIO_DEVICE_GET_INFO"]) {
      syscalls.fault = { match: ({ ioctl }) => ioctl?.name === call, nth: 1, errno: errno.EIO };
      expect((await errorFrom(openDevice(parts, group))).errno).toBe(errno.EIO);
    }
    container.detach(group);
    expect(container.groups.size).toBe(0);
  });
});

describe("mappings of an iommufd", () => {
  it("go only as wholes, even where the kernel would take some of a range", async () => {
    const { container, address, kernel } = await opened();
    container.map(at(0x10000, 1, address));
    await container.mapAsync(at(0x11000, 2, address));
    for (const size of [2 * PAGE, 2 * PAGE + 1]) {
      const error = errorOf(() => container.unmap(iova(0x10000), size));
      expect(error).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_UNMAP_REFUSED" });
      expect(error.message).toContain("0x2000 bytes at 0x11000");
      expect((await errorFrom(container.unmapAsync(iova(0x10000), size))).code).toBe("ERR_IOSPAN_UNMAP_REFUSED");
    }
    expect(kernel.iommufds[0]?.ioases[0]?.areas).toHaveLength(2);
    expect(container.unmap(iova(0x10000), 3 * PAGE)).toBe(3 * PAGE);
    expect(await container.unmapAsync(iova(0x10000), 3 * PAGE)).toBe(0);
  });

  it("that others made are cut as the kernel cuts them, which is told", async () => {
    const { container, address, kernel, syscalls } = await opened();
    // By the same descriptor, past the object: these are not known to it.
    const fd = kernel.openFds.find(({ path }) => path === "/dev/vfio/vfio")?.fd;
    for (const [start, pages] of [
      [0x10000n, 1],
      [0x11000n, 2],
    ] as const) {
      const wish = { iova: start, vaddr: address, size: pages * PAGE, flags: 3 };
      syscalls.ioctl(fd!, VFIO_IOMMU_MAP_DMA, dmaMap.encode(wish));
    }
    const error = errorOf(() => container.unmap(iova(0x10000), 2 * PAGE));
    expect(error).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_UNMAP_REFUSED", errno: errno.ENOENT });
    expect(error.message).toContain("0x1000 of them are, the rest is not");
    expect(errorOf(() => container.unmap(iova(0x11000), PAGE)).message).not.toContain("of them");
  });

  it("are found whether or not a device is open, and next to what is ruled out", async () => {
    const parts = await attached();
    const { container, group, address, kernel } = parts;
    container.map(at(0x7fff000, 1, address));
    const found = () => [
      container.isMapped(iova(0x7fff000), BigInt(PAGE)),
      container.isMapped(iova(0x7fff000), 2n ** 62n),
      container.isMapped(iova(0x7ffe000), BigInt(PAGE)),
      container.isMapped(iova(0x8000000), 2n ** 62n),
    ];
    expect(found()).toEqual([true, true, false, false]);
    await openDevice(parts, group);
    expect(found()).toEqual([true, true, false, false]);
    expect(kernel.iommufds[0]?.ioases[0]?.areas).toHaveLength(1);
    expect(kernel.pinnedPages).toBe(1);
  });

  it("are whole or have holes", async () => {
    const { container, address, kernel } = await opened();
    container.map(at(0x10000, 2, address));
    container.map(at(0x13000, 1, address));
    expect(container.isWhole?.(iova(0x10000), BigInt(2 * PAGE))).toBe(true);
    expect(container.isWhole?.(iova(0x10000), BigInt(4 * PAGE))).toBe(false);
    expect(container.isWhole?.(iova(0x11000), BigInt(PAGE))).toBe(true);
    expect(kernel.iommufds[0]?.ioases).toHaveLength(1);
  });

  it.each(["IOMMU_VFIO_IOAS", "IOMMU_IOAS_ALLOC", "IOMMU_IOAS_COPY", "IOMMU_DESTROY"])(
    "cannot be asked for wholes when %s fails, which is explained and leaves nothing",
    async (call) => {
      const { container, address, syscalls, kernel } = await opened();
      container.map(at(0x10000, 1, address));
      syscalls.fault = { match: ({ ioctl }) => ioctl?.name === call, nth: 1, errno: errno.ENOMEM };
      const error = errorOf(() => container.isWhole?.(iova(0x10000), BigInt(PAGE)));
      expect(error).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_SYSCALL", errno: errno.ENOMEM });
      if (call !== "IOMMU_DESTROY") expect(kernel.iommufds[0]?.ioases).toHaveLength(1);
    },
  );

  it("are not made of registers, which is explained", async () => {
    const { container, device, kernel } = await opened();
    device.region("bar0").read32(0);
    const { start } = kernel.addressSpace.find((range) => range.end - range.start === 2 ** 20) ?? { start: 0 };
    const error = errorOf(() => container.map(at(0x10000, 1, BigInt(start))));
    expect(error).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_MAP_MEMORY", errno: errno.EFAULT });
    expect(error.hint).toContain("CONFIG_VFIO_CONTAINER");
  });

  it("need a group, which is explained", async () => {
    const { container, address } = await bench();
    expect(errorOf(() => container.map(at(0x10000, 1, address)))).toMatchObject({
      code: "ERR_IOSPAN_MAP_REFUSED",
      errno: errno.ENODEV,
      hint: "attach a group first",
    });
    expect(errorOf(() => container.info()).errno).toBe(errno.ENODEV);
    expect(errorOf(() => container.isMapped(iova(0), BigInt(PAGE))).errno).toBe(errno.ENODEV);
  });
});

describe("a device that is opened in an iommufd", () => {
  it("may be refused for its token as well as for its mappings, which is one errno", async () => {
    const parts = await attached();
    parts.syscalls.fault = {
      match: ({ ioctl }) => ioctl?.name === "VFIO_GROUP_GET_DEVICE_FD",
      nth: 1,
      errno: errno.EINVAL,
    };
    const error = await errorFrom(parts.group.deviceFd(ABOUT.device, "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3"));
    expect(error).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_VF_TOKEN", errno: errno.EINVAL });
    expect(error.message).toMatch(/takes no VF token.*or else .*cannot have the container's mappings/);
    expect(error.hint).toMatch(/name it without.*else: .*CONFIG_VFIO_CONTAINER/);
  });

  it("is refused for mappings that its SMMU cannot have, and may come when they are gone", async () => {
    const parts = await attached();
    const { container, group, address, kernel } = parts;
    container.map(at(0x10000, 1, address));
    container.map(at(0x8000000, 1, address));
    const error = await errorFrom(openDevice(parts, group));
    expect(error).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_ATTACH_REFUSED", errno: errno.EADDRINUSE });
    expect(error.hint).toContain("reserved_regions");
    expect(kernel.pinnedPages).toBe(0);
    container.unmap(iova(0x8000000), PAGE);
    await openDevice(parts, group);
    expect(kernel.pinnedPages).toBe(1);
    expect(container.info().ranges).toHaveLength(2);
  });

  it.each([
    ["EPERM", "ERR_IOSPAN_UNSAFE_INTERRUPTS", "/sys/module/iommufd/parameters/allow_unsafe_interrupts"],
    ["ENODEV", "ERR_IOSPAN_WRONG_DRIVER", "attach it again"],
    ["EINVAL", "ERR_IOSPAN_ATTACH_REFUSED", "CONFIG_VFIO_CONTAINER"],
    ["EADDRINUSE", "ERR_IOSPAN_ATTACH_REFUSED", "reserved_regions"],
    ["EFAULT", "ERR_IOSPAN_ATTACH_REFUSED", "mapped in this process"],
    ["ENOMEM", "ERR_IOSPAN_ATTACH_REFUSED", "ulimit -l"],
    ["EMFILE", "ERR_IOSPAN_ATTACH_REFUSED", "ulimit -n"],
    ["EIO", "ERR_IOSPAN_SYSCALL", "dmesg"],
  ] satisfies [ErrnoName, string, string][])("explains %s as %s", async (name, code, hint) => {
    const parts = await attached();
    parts.syscalls.fault = {
      match: ({ ioctl }) => ioctl?.name === "VFIO_GROUP_GET_DEVICE_FD",
      nth: 1,
      errno: errno[name],
    };
    const error = await errorFrom(openDevice(parts, parts.group));
    expect(error).toMatchObject({ ...ABOUT, code, errno: errno[name], syscall: "VFIO_GROUP_GET_DEVICE_FD" });
    expect(error.hint).toContain(hint);
  });
});

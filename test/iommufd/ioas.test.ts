import { describe, expect, it, vi } from "vitest";
import { errno } from "../../src/abi/errno.js";
import type { Ioctl } from "../../src/abi/ioctl.js";
import { IOMMU_IOAS_MAP, ioasIovaRanges, ioasMap, ioasUnmap } from "../../src/abi/iommufd-ioas.js";
import { Ioas } from "../../src/iommufd/ioas.js";
import { Iommufd } from "../../src/iommufd/iommufd.js";
import { iova } from "../../src/iova.js";
import { machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import { MAP_ANONYMOUS, MAP_PRIVATE } from "../../src/syscalls/mmap-flags.js";
import { type Fd, SyscallError } from "../../src/syscalls/syscalls.js";
import type { DmaMapping } from "../../src/vfio/container.js";
import { errorFrom, errorOf } from "../support/errors.js";
import { refused } from "../support/strict-syscalls.js";
import { FIRST, IommufdRig, kernelWithIommufd, SECOND, SMMU0, SMMU1 } from "./rig.js";

const PAGE = 4096;

function memory({ kernel }: IommufdRig, pages: number): bigint {
  return kernel.mmap({ length: pages * PAGE, prot: 3, flags: MAP_PRIVATE | MAP_ANONYMOUS });
}

const mapping = (address: bigint, at: number | bigint, pages = 1): DmaMapping => ({
  iova: iova(at),
  address,
  size: pages * PAGE,
  access: "read-write",
});

async function withDevice(options = {}) {
  const rig = await IommufdRig.open(options);
  await rig.attached(FIRST);
  return { rig, ioas: rig.ioas, address: memory(rig, 8) };
}

describe("what an address space says of itself", () => {
  it("is everything, without devices", async () => {
    const { ioas } = await IommufdRig.open();
    expect(ioas.rules()).toEqual({ ranges: [{ start: 0n, end: 2n ** 64n - 1n }], alignment: 1 });
    expect(ioas.info().available).toBeUndefined();
    expect([ioas.iommus, ioas.devices]).toEqual(["", ""]);
  });

  it("is what its devices' IOMMUs can, all of them", async () => {
    const { iommus } = machineOneDescription();
    const second = { ...iommus[1]!, pageSizes: 0x201000n };
    const { rig, ioas } = await withDevice({ iommus: [iommus[0]!, second] });
    expect(ioas.info()).toEqual({
      ranges: [
        { start: 0n, end: 0x7ffffffn },
        { start: 0x8100000n, end: 2n ** 48n - 1n },
      ],
      pageSizes: 0x40201000n,
      available: undefined,
    });
    const other = await rig.attached(SECOND);
    expect(ioas.info().pageSizes).toBe(0x201000n);
    expect([ioas.iommus, ioas.devices]).toEqual([`${SMMU0}, ${SMMU1}`, `${FIRST}, ${SECOND}`]);
    other.close();
    expect(ioas.iommus).toBe(SMMU0);
  });

  it("takes as much room as there are ranges", async () => {
    const reserved = Array.from({ length: 300 }, (_, index) => {
      const start = 0x1_0000_0000 + index * 0x10000;
      return { start, end: start + 0xfff, type: "reserved" as const };
    });
    const { iommus } = machineOneDescription();
    const { ioas } = await withDevice({ iommus: [{ ...iommus[0]!, reserved }, iommus[1]!] });
    expect(ioas.rules().ranges).toHaveLength(302);
    expect(ioas.rules().ranges.at(-1)?.end).toBe(2n ** 48n - 1n);
    ioas.close();
  });

  it("is its smallest page where the kernel does not tell of more", async () => {
    const { rig, ioas } = await withDevice();
    rig.refuse("VFIO_IOMMU_GET_INFO", "ENOTTY");
    expect(ioas.info().pageSizes).toBe(4096n);
    rig.refuse("IOMMU_VFIO_IOAS", "EIO");
    expect(errorOf(() => ioas.info())).toMatchObject({ syscall: "IOMMU_VFIO_IOAS", device: FIRST, iommu: SMMU0 });
  });

  it.each([
    ["more ranges than there are bytes", { num_iovas: 2 ** 30 }, errno.EMSGSIZE],
    ["more ranges than room, and calls that a success", { num_iovas: 257 }, undefined],
    ["no alignment", { out_iova_alignment: 0 }, undefined],
    ["an alignment beyond all numbers", { out_iova_alignment: 2n ** 60n }, undefined],
  ])("is not believed when it is %s", async (_, fields, answer) => {
    const kernel = kernelWithIommufd();
    const lying = intercepted(kernel, (call, proceed) => {
      const isAsked = call.ioctl?.name === "IOMMU_IOAS_IOVA_RANGES" && call.argument instanceof Uint8Array;
      if (!isAsked) return proceed();
      const result = proceed();
      ioasIovaRanges.patch(call.argument as Uint8Array, 0, fields);
      if (answer !== undefined) kernel.ioctl(call.fd!, call.ioctl!, ioasIovaRanges.encode({ ioas_id: 1 }));
      return result;
    });
    const ioas = Ioas.allocate(await Iommufd.open(lying));
    const error = errorOf(() => ioas.rules());
    expect(error.code).toBe("ERR_IOSPAN_MALFORMED_ANSWER");
  });
});

describe("mapping", () => {
  it("makes and removes whole mappings", async () => {
    const { rig, ioas, address } = await withDevice();
    ioas.map(mapping(address, 0x10000, 2));
    await ioas.mapAsync({ ...mapping(address, 0x20000), access: "read" });
    expect(rig.kernel.iommufds[0]?.ioases[0]?.areas).toEqual([
      { iova: 0x10000, size: 2 * PAGE, read: true, write: true },
      { iova: 0x20000, size: PAGE, read: true, write: false },
    ]);
    expect(ioas.unmap(iova(0x10000), 2 * PAGE)).toBe(2 * PAGE);
    expect(await ioas.unmapAsync(iova(0x20000), PAGE)).toBe(PAGE);
    expect(rig.kernel.pinnedPages).toBe(0);
  });

  it.each([
    ["an overlap", { iova: iova(0x10000) }, "ERR_IOSPAN_MAP_OVERLAP", "EEXIST"],
    ["a reserved address", { iova: iova(0x8000000) }, "ERR_IOSPAN_MAP_RANGE", "EINVAL"],
    ["an address beyond the aperture", { iova: iova(2n ** 48n) }, "ERR_IOSPAN_MAP_RANGE", "EINVAL"],
    ["memory that is not there", { address: 0x10000n }, "ERR_IOSPAN_MAP_MEMORY", "EFAULT"],
  ])("explains %s", async (_, wish, code, answer) => {
    const { ioas, address } = await withDevice();
    ioas.map(mapping(address, 0x10000));
    const facts = { code, errnoName: answer, syscall: "IOMMU_IOAS_MAP", device: FIRST, iommu: SMMU0 };
    expect(errorOf(() => ioas.map({ ...mapping(address, 0x40000), ...wish }))).toMatchObject(facts);
    expect(await errorFrom(ioas.mapAsync({ ...mapping(address, 0x40000), ...wish }))).toMatchObject(facts);
  });

  it("explains the limit on locked memory", async () => {
    const { ioas, address } = await withDevice({ capabilities: [], memlock: 4 * PAGE });
    const error = errorOf(() => ioas.map(mapping(address, 0, 8)));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_MEMLOCK", errnoName: "ENOMEM" });
    expect(error.message).toContain("16 KiB");
    expect(error.hint).toContain("all processes of a user together");
  });
});

describe("unmapping", () => {
  it("says how much was there", async () => {
    const { ioas, address } = await withDevice();
    expect(ioas.unmap(iova(0x10000), PAGE)).toBe(0);
    expect(await ioas.unmapAsync(iova(0x10000), PAGE)).toBe(0);
    ioas.map(mapping(address, 0x10000));
    expect(ioas.unmap(iova(0xf000), 4 * PAGE)).toBe(PAGE);
  });

  it("does not cut mappings", async () => {
    const { ioas, address } = await withDevice();
    ioas.map(mapping(address, 0x10000, 4));
    const refused = { code: "ERR_IOSPAN_UNMAP_REFUSED", errnoName: "ENOENT", iommu: SMMU0, device: FIRST };
    expect(errorOf(() => ioas.unmap(iova(0x11000), PAGE))).toMatchObject(refused);
    expect(await errorFrom(ioas.unmapAsync(iova(0x10000), PAGE))).toMatchObject(refused);
    expect(ioas.isMapped(iova(0x10000), 4n * BigInt(PAGE))).toBe(true);
  });

  it("takes all or nothing, where the kernel would have taken what comes first", async () => {
    const { rig, ioas, address } = await withDevice();
    for (const at of [0x10000, 0x14000, 0x20000]) ioas.map(mapping(address, at, 4));
    const state = () => JSON.stringify(rig.kernel.iommufds[0]?.ioases);
    const before = state();
    for (const [at, pages] of [
      [0x10000, 6],
      [0x10000, 18],
      [0x12000, 8],
      [0xf000, 2],
      [0x23000, 4],
      [0x11000, 16],
    ] as const) {
      // biome-ignore format: pairs
      const error = errorOf(() => ioas.unmap(iova(at), pages * PAGE));
      expect(error).toMatchObject({ code: "ERR_IOSPAN_UNMAP_REFUSED", syscall: "IOMMU_IOAS_UNMAP" });
      expect((await errorFrom(ioas.unmapAsync(iova(at), pages * PAGE))).code).toBe("ERR_IOSPAN_UNMAP_REFUSED");
      expect(state()).toBe(before);
    }
    expect(ioas.unmap(iova(0x10000), 8 * PAGE)).toBe(8 * PAGE);
    expect(ioas.unmap(iova(0), 64 * PAGE)).toBe(4 * PAGE);
  });

  it("knows mappings that came about otherwise, and forgets its own that are gone", async () => {
    const { rig, ioas, address } = await withDevice();
    const raw = (call: Ioctl, bytes: Uint8Array) => rig.kernel.ioctl(rig.iommufd.fd, call, bytes);
    const map = (at: number, pages: number) =>
      raw(
        IOMMU_IOAS_MAP,
        ioasMap.encode({ ioas_id: ioas.id, flags: 7, user_va: address, iova: at, length: pages * PAGE }),
      );
    map(0x10000, 2);
    map(0x12000, 2);
    expect(errorOf(() => ioas.unmap(iova(0x10000), 3 * PAGE)).code).toBe("ERR_IOSPAN_UNMAP_REFUSED");
    expect(ioas.isWhole(iova(0x10000), 0x4000n)).toBe(true);
    // Ends where one mapping does and another one begins: nothing is cut.
    expect(ioas.unmap(iova(0x10000), 2 * PAGE)).toBe(2 * PAGE);
    expect(ioas.unmap(iova(0x12000), 2 * PAGE)).toBe(2 * PAGE);
    for (const at of [0x10000, 0x12000]) ioas.map(mapping(address, at, 2));
    expect(ioas.unmap(iova(0x10000), 4 * PAGE)).toBe(4 * PAGE);
    for (const [at, pages] of [[0x12000, 1], [0x13000, 4]] as const) map(at, pages); // biome-ignore format: pairs
    expect(errorOf(() => ioas.unmap(iova(0x12000), 2 * PAGE)).code).toBe("ERR_IOSPAN_UNMAP_REFUSED");
    expect(ioas.isMapped(iova(0x12000), BigInt(PAGE))).toBe(true);
  });

  it("asks the kernel for what it has not mapped itself as one, and for nothing else", async () => {
    const { rig, ioas, address } = await withDevice();
    const calls: string[] = [];
    const { kernel } = rig;
    const ioctl = kernel.ioctl.bind(kernel);
    vi.spyOn(kernel, "ioctl").mockImplementation((fd, call, argument) => {
      calls.push(call.name);
      return ioctl(fd, call, argument);
    });
    const unmapping = (at: number, pages: number) => {
      calls.length = 0;
      ioas.unmap(iova(at), pages * PAGE);
      return calls.map((name) => name.replace("IOMMU_", "").replace("IOAS_", ""));
    };
    ioas.map(mapping(address, 0x10000));
    ioas.mapFile({ fd: kernel.memfd("m", 0, PAGE), offset: 0, iova: iova(0x12000), size: PAGE, access: "read" });
    ioas.copyFrom(ioas, { from: iova(0x10000), iova: iova(0x11000), size: PAGE, access: "read" });
    const chosen = ioas.mapAnywhere({ address, size: PAGE, access: "read" });
    for (const at of [0x10000, 0x11000, 0x12000, Number(chosen)]) expect(unmapping(at, 1)).toEqual(["UNMAP"]);
    ioas.map(mapping(address, 0x10000));
    ioas.map(mapping(address, 0x11000));
    ioas.map(mapping(address, 0x12000));
    // One end between two mappings, the other one free.
    expect(unmapping(0xf000, 2)).toEqual(["ALLOC", "COPY", "COPY", "UNMAP", "UNMAP", "DESTROY", "UNMAP"]);
    expect(unmapping(0x11000, 2)).toEqual(["ALLOC", "COPY", "COPY", "DESTROY", "UNMAP"]);
  });

  it("works at either end of the addresses", async () => {
    const rig = await IommufdRig.open();
    const { ioas } = rig;
    const address = memory(rig, 1);
    ioas.map(mapping(address, 0));
    expect(ioas.unmap(iova(0), 2 * PAGE)).toBe(PAGE);
    const last = 2n ** 64n - 2n * BigInt(PAGE);
    ioas.map(mapping(address, last));
    expect(ioas.unmap(iova(last), PAGE)).toBe(PAGE);
  });

  it.each([
    ["IOMMU_IOAS_ALLOC", 1],
    ["IOMMU_IOAS_COPY", 1],
    ["IOMMU_IOAS_COPY", 2],
    ["IOMMU_IOAS_UNMAP", 1],
    ["IOMMU_IOAS_UNMAP", 2],
    ["IOMMU_DESTROY", 1],
  ])("changes nothing when %s fails as it asks (%i)", async (call, nth) => {
    const { rig, ioas, address } = await withDevice();
    for (const at of [0x10000, 0x11000]) ioas.map(mapping(address, at));
    rig.refuse(call, "ENOMEM", nth);
    expect(errorOf(() => ioas.unmap(iova(0xf000), 2 * PAGE))).toMatchObject({ syscall: call, errnoName: "ENOMEM" });
    expect(rig.kernel.iommufds[0]?.ioases[0]?.areas).toHaveLength(2);
    expect(rig.kernel.iommufds[0]?.ioases).toHaveLength(call === "IOMMU_DESTROY" ? 2 : 1);
    expect(ioas.unmap(iova(0xf000), 2 * PAGE)).toBe(PAGE);
  });

  it("passes on what else is wrong", async () => {
    const { rig, ioas } = await withDevice();
    rig.refuse("IOMMU_IOAS_UNMAP", "EIO");
    expect(errorOf(() => ioas.unmap(iova(0), PAGE))).toMatchObject({ errnoName: "EIO", iommu: SMMU0 });
    rig.iommufd.close();
    expect(errorOf(() => ioas.unmap(iova(0), PAGE)).code).toBe("ERR_IOSPAN_CLOSED");
  });

  it("does not believe that more was unmapped than asked for", async () => {
    const kernel = kernelWithIommufd();
    const lying = intercepted(kernel, (call, proceed) => {
      if (call.ioctl?.name !== "IOMMU_IOAS_UNMAP") return proceed();
      ioasUnmap.patch(call.argument as Uint8Array, 0, { length: 2 * PAGE });
      return 0 as ReturnType<typeof proceed>;
    });
    const ioas = Ioas.allocate(await Iommufd.open(lying));
    expect(errorOf(() => ioas.unmap(iova(0), PAGE)).code).toBe("ERR_IOSPAN_MALFORMED_ANSWER");
  });
});

describe("mapping where the kernel likes", () => {
  it("says where", async () => {
    const { rig, ioas, address } = await withDevice();
    const [one, two] = [1, 1].map((pages) => ioas.mapAnywhere({ address, size: pages * PAGE, access: "read-write" }));
    expect([one, two]).toEqual([0x1000n, 0x2000n]);
    ioas.allow([{ start: iova(0x100000), end: iova(0x103fff) }]);
    expect(ioas.mapAnywhere({ address, size: 4 * PAGE, access: "read" })).toBe(0x100000n);
    const full = errorOf(() => ioas.mapAnywhere({ address, size: PAGE, access: "read" }));
    expect(full).toMatchObject({ code: "ERR_IOSPAN_NO_IOVA", errnoName: "ENOSPC", device: FIRST, iommu: SMMU0 });
    expect(rig.kernel.iommufds[0]?.ioases[0]?.areas).toHaveLength(3);
  });

  it.each([
    ["memory that is not there", { address: 0x10000n }, "ERR_IOSPAN_MAP_MEMORY"],
    ["memory that is less aligned than pages", { address: 0x10800n }, "ERR_IOSPAN_MAP_ALIGNMENT"],
    ["nothing", { size: 0 }, "ERR_IOSPAN_MAP_ALIGNMENT"],
  ])("explains %s", async (_, wish, code) => {
    const { ioas, address } = await withDevice();
    const error = errorOf(() => ioas.mapAnywhere({ address, size: PAGE, access: "read", ...wish }));
    expect(error).toMatchObject({ code, syscall: "IOMMU_IOAS_MAP", device: FIRST, iommu: SMMU0 });
    expect(error.message).not.toContain("IOVA 0x0");
  });

  it("explains memory that the IOMMU cannot address", async () => {
    const { rig, ioas, address } = await withDevice();
    rig.refuse("IOMMU_IOAS_MAP", "ERANGE");
    expect(errorOf(() => ioas.mapAnywhere({ address, size: PAGE, access: "read" }))).toMatchObject({
      code: "ERR_IOSPAN_MAP_RANGE",
    });
  });
});

describe("mapping a file", () => {
  it("maps its memory, and keeps the file", async () => {
    const { rig, ioas } = await withDevice();
    const fd = rig.kernel.memfd("memory", 0, 4 * PAGE);
    const part = { fd, offset: PAGE, size: 2 * PAGE, access: "read-write" } as const;
    ioas.mapFile({ ...part, iova: iova(0x10000) });
    await ioas.mapFileAsync({ ...part, iova: iova(0x20000), access: "read" });
    rig.kernel.close(fd);
    expect(rig.kernel.iommufds[0]?.ioases[0]?.areas).toEqual([
      { iova: 0x10000, size: 2 * PAGE, read: true, write: true },
      { iova: 0x20000, size: 2 * PAGE, read: true, write: false },
    ]);
    for (const at of [0x10000, 0x20000]) expect(ioas.unmap(iova(at), 2 * PAGE)).toBe(2 * PAGE);
    expect(rig.kernel.usedMemory).toBe(0);
  });

  it.each([
    ["EINVAL", "ERR_IOSPAN_MAP_MEMORY", /memfd/],
    ["EBADF", "ERR_IOSPAN_MAP_MEMORY", /open/],
    ["EOPNOTSUPP", "ERR_IOSPAN_MAP_MEMORY", /DMABUF/],
    ["ENODEV", "ERR_IOSPAN_MAP_MEMORY", /export/],
    ["ENOTTY", "ERR_IOSPAN_NOT_SUPPORTED", /6\.13/],
    ["EEXIST", "ERR_IOSPAN_MAP_OVERLAP", /unmap/],
    ["ENOMEM", "ERR_IOSPAN_MEMLOCK", /all processes of a user/],
    ["ERANGE", "ERR_IOSPAN_MAP_RANGE", /physical/],
    ["EIO", "ERR_IOSPAN_MAP_REFUSED", /dmesg/],
  ] as const)("explains %s", async (answer, code, hint) => {
    const { rig, ioas } = await withDevice();
    const fd = rig.kernel.memfd("memory", 0, PAGE);
    const part = { fd, offset: 0, iova: iova(0x10000), size: PAGE, access: "read" } as const;
    const facts = { code, errno: errno[answer], syscall: "IOMMU_IOAS_MAP_FILE", device: FIRST, iommu: SMMU0 };
    rig.refuse("IOMMU_IOAS_MAP_FILE", answer);
    expect(errorOf(() => ioas.mapFile(part))).toMatchObject({ ...facts, hint: expect.stringMatching(hint) });
    rig.refuse("IOMMU_IOAS_MAP_FILE", answer);
    expect(await errorFrom(ioas.mapFileAsync(part))).toMatchObject(facts);
    expect(rig.kernel.iommufds[0]?.ioases[0]?.areas).toEqual([]);
  });

  it("is refused before anything is changed for what is no part of a file", async () => {
    const { ioas } = await withDevice();
    for (const wrong of [{ offset: -1 }, { offset: 0.5 }, { size: -PAGE }]) {
      const part = { fd: 3 as Fd, offset: 0, iova: iova(0), size: PAGE, access: "read", ...wrong } as const;
      expect(errorOf(() => ioas.mapFile(part)).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    }
  });
});

describe("copying a mapping", () => {
  it("maps it again without a second pin", async () => {
    const { rig, ioas, address } = await withDevice();
    const other = Ioas.allocate(rig.iommufd);
    other.map(mapping(address, 0x10000, 4));
    ioas.copyFrom(other, { from: iova(0x11000), iova: iova(0x50000), size: 2 * PAGE, access: "read-write" });
    await ioas.copyFromAsync(ioas, { from: iova(0x50000), iova: iova(0x60000), size: PAGE, access: "read" });
    expect(rig.kernel.pinnedPages).toBe(2);
    expect(other.unmap(iova(0x10000), 4 * PAGE)).toBe(4 * PAGE);
    expect(rig.kernel.pinnedPages).toBe(2);
    expect(ioas.unmap(iova(0x50000), 2 * PAGE)).toBe(2 * PAGE);
    expect(rig.kernel.pinnedPages).toBe(1);
  });

  it("explains what cannot be copied", async () => {
    const { rig, ioas, address } = await withDevice();
    ioas.map({ ...mapping(address, 0x10000), access: "read" });
    const copy = (wish = {}) =>
      ioas.copyFrom(ioas, { from: iova(0x10000), iova: iova(0x50000), size: PAGE, access: "read", ...wish });
    const facts = { syscall: "IOMMU_IOAS_COPY", device: FIRST, iommu: SMMU0 };
    expect(errorOf(() => copy({ access: "write" }))).toMatchObject({
      ...facts,
      code: "ERR_IOSPAN_MAP_MEMORY",
      errnoName: "EPERM",
    });
    expect(errorOf(() => copy({ size: 2 * PAGE }))).toMatchObject({
      ...facts,
      code: "ERR_IOSPAN_MAP_MEMORY",
      errnoName: "ENOENT",
    });
    expect(errorOf(() => copy({ iova: iova(0x10000) }))).toMatchObject({ ...facts, code: "ERR_IOSPAN_MAP_OVERLAP" });
    expect(errorOf(() => copy({ iova: iova(0x8000000) }))).toMatchObject({ ...facts, code: "ERR_IOSPAN_MAP_RANGE" });
    const detached = Ioas.allocate(rig.iommufd);
    detached.map(mapping(0x10000n, 0));
    const unpinnable = errorOf(() =>
      ioas.copyFrom(detached, { from: iova(0), iova: iova(0x70000), size: PAGE, access: "read" }),
    );
    expect(unpinnable).toMatchObject({ ...facts, code: "ERR_IOSPAN_MAP_MEMORY", errnoName: "EFAULT" });
    expect(rig.kernel.iommufds[0]?.ioases[0]?.areas).toHaveLength(1);
  });

  it("stays inside one iommufd", async () => {
    const { rig, ioas } = await withDevice();
    const foreign = Ioas.allocate(await Iommufd.open(rig.syscalls));
    const wish = { from: iova(0), iova: iova(0), size: PAGE, access: "read" } as const;
    expect(errorOf(() => ioas.copyFrom(foreign, wish)).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
  });
});

describe("allowing IOVAs", () => {
  it("replaces the ranges, all or nothing", async () => {
    const { ioas, address } = await withDevice();
    const chosen = () => ioas.mapAnywhere({ address, size: PAGE, access: "read" });
    ioas.allow([
      { start: iova(0x700000), end: iova(0x700fff) },
      { start: iova(0x500000), end: iova(0x500fff) },
    ]);
    const ruledOut = errorOf(() => ioas.allow([{ start: iova(0), end: iova(0x8000000) }]));
    expect(ruledOut).toMatchObject({
      ...{ code: "ERR_IOSPAN_MAP_RANGE", errnoName: "EADDRINUSE", device: FIRST, iommu: SMMU0 },
      hint: expect.stringContaining("rules()"),
    });
    expect([chosen(), chosen()]).toEqual([0x500000n, 0x700000n]);
    ioas.allow([]);
    expect(chosen()).toBe(0x1000n);
    ioas.map(mapping(address, 0x900000));
  });

  it("keeps devices out that would rule them out", async () => {
    const rig = await IommufdRig.open();
    rig.ioas.allow([{ start: iova(0x8000000), end: iova(0x8000fff) }]);
    const device = await rig.device(FIRST);
    expect(await errorFrom(device.attach(rig.ioas))).toMatchObject({ errnoName: "EADDRINUSE", device: FIRST });
  });

  it.each([
    ["a single byte", [[5, 5]]],
    ["one that ends before it begins", [[6, 5]]],
    ["an overlap", [[9, 20], [0, 9]]], // biome-ignore format: pairs
  ])("refuses %s", async (_, ranges) => {
    const { rig, ioas } = await withDevice();
    const spans = ranges.map(([start = 0, end = 0]) => ({ start: iova(start), end: iova(end) }));
    expect(errorOf(() => ioas.allow(spans)).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    rig.refuse("IOMMU_IOAS_ALLOW_IOVAS", "EIO");
    expect(errorOf(() => ioas.allow([])).errnoName).toBe("EIO");
  });

  it("takes more ranges than a page has room for", async () => {
    const { ioas, address } = await withDevice();
    ioas.allow(
      Array.from({ length: 300 }, (_, index) => ({
        start: iova(0x100000 + index * 0x2000),
        end: iova(0x100fff + index * 0x2000),
      })),
    );
    expect(ioas.mapAnywhere({ address, size: PAGE, access: "read" })).toBe(0x100000n);
  });
});

describe("huge pages", () => {
  it("are used unless they are switched off, which comes before mappings", async () => {
    const { ioas, address } = await withDevice();
    expect(ioas.hugePages()).toBe(true);
    ioas.map(mapping(address, 0x10000));
    expect(errorOf(() => ioas.setHugePages(false))).toMatchObject({ code: "ERR_IOSPAN_BUSY", iommu: SMMU0 });
    expect(ioas.hugePages()).toBe(true);
    ioas.unmap(iova(0x10000), PAGE);
    ioas.setHugePages(false);
    expect(ioas.hugePages()).toBe(false);
    ioas.setHugePages(true);
    expect(ioas.hugePages()).toBe(true);
  });
});

describe("ending an address space", () => {
  it("takes all mappings, when nobody uses it", async () => {
    const rig = await IommufdRig.open();
    const device = await rig.attached(FIRST);
    const { ioas } = rig;
    ioas.map(mapping(memory(rig, 1), 0x10000));
    const busy = { code: "ERR_IOSPAN_BUSY", errnoName: "EBUSY", device: FIRST, iommu: SMMU0 };
    expect(errorOf(() => ioas.destroy())).toMatchObject(busy);
    expect(ioas.isMapped(iova(0x10000), 4096n)).toBe(true);
    device.detach();
    ioas.destroy();
    expect([rig.kernel.iommufds[0]?.ioases, rig.kernel.pinnedPages]).toEqual([[], 0]);
    expect(errorOf(() => ioas.destroy()).code).toBe("ERR_IOSPAN_CLOSED");
    rig.refuse("IOMMU_DESTROY", "EIO");
    expect(errorOf(() => ioas.destroy())).toMatchObject({ code: "ERR_IOSPAN_SYSCALL", errnoName: "EIO" });
  });
});

describe("asking whether something is mapped", () => {
  it("answers, and changes nothing", async () => {
    const { rig, ioas, address } = await withDevice();
    ioas.map(mapping(address, 0x10000, 4));
    ioas.map(mapping(address, 0x9000000));
    const before = JSON.stringify(rig.kernel.iommufds);
    const page = BigInt(PAGE);
    const asked: [bigint, bigint, boolean][] = [
      [0x10000n, page, true],
      [0x13000n, page, true],
      [0xf000n, 2n * page, true],
      [0xf000n, page, false],
      [0x14000n, page, false],
      [0x14000n, 0x7ffffffn + 1n - 0x14000n, false],
      // Over the window of the interrupts, which the kernel looks at first.
      [0x14000n, 0x8800000n, false],
      [0x14000n, 0xa000000n, true],
      [0x8000000n, 0x100000n, false],
      [2n ** 48n - page, 2n * page, false],
      [2n ** 60n, 2n ** 62n, false],
    ];
    for (const [at, size, expected] of asked) expect(ioas.isMapped(iova(at), size)).toBe(expected);
    expect(JSON.stringify(rig.kernel.iommufds)).toBe(before);
  });

  it("works without devices, too, where the kernel looks at no memory", async () => {
    const rig = await IommufdRig.open();
    const address = memory(rig, 4);
    rig.ioas.map(mapping(address, 0x10000, 4));
    expect(rig.ioas.isMapped(iova(0x10000), BigInt(PAGE))).toBe(true);
    expect(rig.ioas.isMapped(iova(0x20000), 2n ** 61n)).toBe(false);
    expect(rig.kernel.iommufds[0]?.ioases[0]?.areas).toHaveLength(1);
  });

  it("passes on what it cannot tell", async () => {
    const { rig, ioas } = await withDevice();
    rig.refuse("mmap", "ENOMEM");
    expect(errorOf(() => ioas.isMapped(iova(0), 4096n))).toMatchObject({ syscall: "mmap", iommu: SMMU0 });
    rig.refuse("IOMMU_IOAS_MAP", "EIO");
    expect(errorOf(() => ioas.isMapped(iova(0), 4096n))).toMatchObject({ errnoName: "EIO", iommu: SMMU0 });
  });
});

describe("asking whether all of a range is mapped", () => {
  it("answers, pins nothing and leaves nothing behind", async () => {
    const { rig, ioas, address } = await withDevice();
    ioas.map(mapping(address, 0x10000, 2));
    ioas.map(mapping(address + 4n * 4096n, 0x12000, 2));
    ioas.map(mapping(address, 0x15000));
    const state = () => [rig.kernel.pinnedPages, rig.kernel.iommufds[0]?.ioases.map(({ id }) => id)];
    const before = state();
    expect(ioas.isWhole(iova(0x10000), 0x4000n)).toBe(true);
    expect(ioas.isWhole(iova(0x11000), 0x2000n)).toBe(true);
    expect(ioas.isWhole(iova(0x10000), 0x6000n)).toBe(false);
    expect(ioas.isWhole(iova(0x20000), 0x1000n)).toBe(false);
    expect(state()).toEqual(before);
  });

  it("takes a mapping that devices may only write to", async () => {
    const { ioas, address } = await withDevice();
    ioas.map({ ...mapping(address, 0x10000), access: "write" });
    expect(ioas.isWhole(iova(0x10000), 0x1000n)).toBe(true);
  });

  it.each(["IOMMU_IOAS_ALLOC", "IOMMU_IOAS_COPY", "IOMMU_DESTROY"])("passes on that %s failed", async (call) => {
    const { rig, ioas, address } = await withDevice();
    ioas.map(mapping(address, 0x10000));
    rig.refuse(call, "ENOMEM");
    expect(errorOf(() => ioas.isWhole(iova(0x10000), 0x1000n))).toMatchObject({ syscall: call, errnoName: "ENOMEM" });
    expect(rig.kernel.iommufds[0]?.ioases).toHaveLength(call === "IOMMU_DESTROY" ? 2 : 1);
    expect(ioas.isWhole(iova(0x10000), 0x1000n)).toBe(true);
  });
});

describe("asking whether all of a range is mapped", () => {
  it("says what was refused first when nothing can be ended either", async () => {
    const { rig, ioas, address } = await withDevice();
    ioas.map(mapping(address, 0x10000));
    rig.refuse("IOMMU_IOAS_COPY", "ENOMEM");
    const { kernel } = rig;
    const ioctl = kernel.ioctl.bind(kernel);
    vi.spyOn(kernel, "ioctl").mockImplementation((fd, call, argument) => {
      if (call.name === "IOMMU_DESTROY") throw new SyscallError(call.name, errno.EIO, "EIO");
      return ioctl(fd, call, argument);
    });
    const error = errorOf(() => ioas.isWhole(iova(0x10000), 0x1000n));
    expect(error).toMatchObject({ syscall: "IOMMU_IOAS_COPY", errnoName: "ENOMEM" });
    expect(String((error.cause as AggregateError).errors.at(-1))).toContain("IOMMU_DESTROY");
  });
});

describe("closing", () => {
  it("gives back the memory it asked with, or says what it could not", async () => {
    const { rig, ioas } = await withDevice();
    const before = rig.kernel.addressSpace.length;
    ioas.isMapped(iova(0), 4096n);
    expect(rig.kernel.addressSpace.length).toBe(before + 1);
    ioas.close();
    ioas.close();
    expect(rig.kernel.addressSpace.length).toBe(before);
  });

  it("says what it could not give back, and gives back the rest", async () => {
    const kernel = kernelWithIommufd();
    let refusing = false;
    const syscalls = intercepted(kernel, (call, proceed) => {
      if (refusing && call.name === "munmap") throw refused("munmap", "ENOMEM");
      return proceed();
    });
    const iommufd = await Iommufd.open(syscalls);
    const ioas = Ioas.allocate(iommufd);
    ioas.rules();
    ioas.isMapped(iova(0), 4096n);
    refusing = true;
    expect(errorOf(() => ioas.close())).toMatchObject({ code: "ERR_IOSPAN_SYSCALL", errnoName: "ENOMEM" });
    refusing = false;
    expect(() => ioas.close()).not.toThrow();
  });
});

import { describe, expect, it, vi } from "vitest";
import { errno } from "../../src/abi/errno.js";
import type { Ioctl } from "../../src/abi/ioctl.js";
import { IOMMU_IOAS_MAP, ioasMap, ioasUnmap } from "../../src/abi/iommufd-ioas.js";
import { Ioas } from "../../src/iommufd/ioas.js";
import { Iommufd } from "../../src/iommufd/iommufd.js";
import { iova } from "../../src/iova.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import { SyscallError } from "../../src/syscalls/syscalls.js";
import { errorFrom, errorOf } from "../support/errors.js";
import { mapping, memory, PAGE, withDevice } from "./ioas-rig.js";
import { FIRST, IommufdRig, kernelWithIommufd, SMMU0 } from "./rig.js";

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

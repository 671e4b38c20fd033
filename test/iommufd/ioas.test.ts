import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { ioasIovaRanges } from "../../src/abi/iommufd-ioas.js";
import { Ioas } from "../../src/iommufd/ioas.js";
import { Iommufd } from "../../src/iommufd/iommufd.js";
import { iova } from "../../src/iova.js";
import { machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import { errorFrom, errorOf } from "../support/errors.js";
import { refused } from "../support/strict-syscalls.js";
import { mapping, memory, PAGE, withDevice } from "./ioas-rig.js";
import { FIRST, IommufdRig, kernelWithIommufd, SECOND, SMMU0, SMMU1 } from "./rig.js";

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

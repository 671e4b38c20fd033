import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { Ioas } from "../../src/iommufd/ioas.js";
import { Iommufd } from "../../src/iommufd/iommufd.js";
import { iova } from "../../src/iova.js";
import type { Fd } from "../../src/syscalls/syscalls.js";
import { errorFrom, errorOf } from "../support/errors.js";
import { mapping, PAGE, withDevice } from "./ioas-rig.js";
import { FIRST, SMMU0 } from "./rig.js";

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
    ["ENOMEM", "ERR_IOSPAN_NO_MEMORY", /memory\.max/],
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

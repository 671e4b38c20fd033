import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { hwptAlloc } from "../../src/abi/iommufd-hwpt.js";
import { HwPageTable, type PageTableOptions } from "../../src/iommufd/hw-page-table.js";
import { iova } from "../../src/iova.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import { MAP_ANONYMOUS, MAP_PRIVATE } from "../../src/syscalls/mmap-flags.js";
import type { Mmio } from "../../src/syscalls/syscalls.js";
import { Device } from "../../src/vfio/device.js";
import { errorFrom, errorOf } from "../support/errors.js";
import { FIRST, IommufdRig, SECOND, SMMU0, SMMU1, withHttu } from "./rig.js";

const PAGE = 4096;
const AT = 0x40000;

describe("a page table", () => {
  it("is made and destroyed", async () => {
    const rig = await IommufdRig.open();
    const device = await rig.device(FIRST);
    const table = await HwPageTable.allocate(rig.iommufd, device, rig.ioas);
    expect(table.device).toEqual({ name: FIRST, iommu: SMMU0, bus: "pci" });
    await device.attach(table);
    const busy = { code: "ERR_IOSPAN_BUSY", errnoName: "EBUSY", device: FIRST, iommu: SMMU0 };
    expect(errorOf(() => table.destroy())).toMatchObject({ ...busy, hint: expect.stringContaining("detach") });
    device.detach();
    rig.refuse("IOMMU_DESTROY", "EIO");
    expect(errorOf(() => table.destroy())).toMatchObject({ code: "ERR_IOSPAN_SYSCALL", errnoName: "EIO" });
    table.destroy();
    expect(rig.kernel.iommufds[0]?.ioases[0]?.hwpts).toEqual([]);
  });

  it.each([
    ["ENOTTY", "ERR_IOSPAN_NO_IOMMUFD"],
    ["EOPNOTSUPP", "ERR_IOSPAN_ATTACH_REFUSED"],
    ["ENOMEM", "ERR_IOSPAN_ATTACH_REFUSED"],
    ["EINVAL", "ERR_IOSPAN_ATTACH_REFUSED"],
  ] as const)("is not made, for %s", async (answer, code) => {
    const rig = await IommufdRig.open();
    const device = await rig.device(FIRST);
    rig.refuse("IOMMU_HWPT_ALLOC", answer);
    expect(await errorFrom(HwPageTable.allocate(rig.iommufd, device, rig.ioas))).toMatchObject({
      ...{ code, errno: errno[answer], device: FIRST, iommu: SMMU0, hint: expect.stringMatching(/./) },
    });
  });

  it.each([
    [{}, 0],
    [{ nestParent: true }, 1],
    [{ dirtyTracking: true }, 2],
    [{ pasid: true, dirtyTracking: true, nestParent: false }, 10],
  ] as const)("is asked for with %j", async (options, flags) => {
    const rig = await IommufdRig.open(withHttu());
    const device = await rig.device(FIRST);
    const asked: number[] = [];
    const syscalls = intercepted(rig.syscalls, (call, proceed) => {
      if (call.ioctl?.name === "IOMMU_HWPT_ALLOC") asked.push(hwptAlloc.decode(call.argument as Uint8Array).flags);
      return proceed();
    });
    Object.defineProperty(rig.iommufd, "syscalls", { value: syscalls });
    await HwPageTable.allocate(rig.iommufd, device, rig.ioas, options).catch(() => undefined);
    expect(asked).toEqual([flags]);
  });

  it.each([
    [FIRST, SMMU0, { nestParent: true }, /both stages/],
    [SECOND, SMMU1, { dirtyTracking: true }, /IDR0.HTTU/],
    [SECOND, SMMU1, { pasid: true }, /stage 1/],
    [SECOND, SMMU1, { pasid: true, dirtyTracking: true }, /HTTU.*stage 1.*hardwareInfo/],
  ] as const satisfies readonly [string, string, PageTableOptions, RegExp][])(
    "of %s behind %s cannot have %j",
    async (name, iommu, options, hint) => {
      const rig = await IommufdRig.open(withHttu());
      const device = await rig.device(name);
      const error = await errorFrom(HwPageTable.allocate(rig.iommufd, device, rig.ioas, options));
      expect(error).toMatchObject({ code: "ERR_IOSPAN_NOT_SUPPORTED", errnoName: "EOPNOTSUPP", device: name, iommu });
      expect(error.hint).toMatch(hint);
      expect(rig.kernel.iommufds[0]?.ioases[0]?.hwpts).toEqual([]);
    },
  );

  it("tracks no writes on an SMMU as QEMU has it", async () => {
    const rig = await IommufdRig.open();
    const device = await rig.device(FIRST);
    const refused = HwPageTable.allocate(rig.iommufd, device, rig.ioas, { dirtyTracking: true });
    expect((await errorFrom(refused)).code).toBe("ERR_IOSPAN_NOT_SUPPORTED");
  });
});

/** A device that writes to what is mapped for it, through a page table that records which pages. */
async function tracked() {
  const rig = await IommufdRig.open(withHttu());
  const bound = await rig.device(FIRST);
  const table = await HwPageTable.allocate(rig.iommufd, bound, rig.ioas, { dirtyTracking: true });
  await bound.attach(table);
  const device = await Device.open(rig.syscalls, bound, bound);
  device.pciConfig?.setBusMaster(true);
  const address = rig.kernel.mmap({ length: 8 * PAGE, prot: 3, flags: MAP_PRIVATE | MAP_ANONYMOUS });
  rig.ioas.map({ iova: iova(AT), address, size: 8 * PAGE, access: "read-write" });
  const bar: Mmio = device.region("bar0");
  const write = async (at: number) => {
    bar.write64(0x80, 0x40000n);
    bar.write64(0x88, BigInt(at));
    bar.write64(0x90, 64n);
    bar.write32(0x98, 3);
    while ((bar.read32(0x98) & 1) !== 0) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  return { rig, table, write, address, ioas: rig.ioas, all: { iova: iova(AT), size: 8 * PAGE } };
}

describe("the record of written pages", () => {
  it("begins when it is switched on, and again with each question", async () => {
    const { table, write, all } = await tracked();
    table.setDirtyTracking(true);
    expect(table.dirtyPages(all).count).toBe(0);
    await write(AT + PAGE);
    await write(AT + 2 * PAGE + 8);
    await write(AT + 7 * PAGE);
    const seen = table.dirtyPages({ ...all, clear: false });
    expect(seen).toMatchObject({ ...all, pageSize: PAGE, count: 3 });
    expect(seen.ranges()).toEqual([
      { start: 0x41000n, end: 0x42fffn },
      { start: 0x47000n, end: 0x47fffn },
    ]);
    expect([seen.isDirty(iova(AT)), seen.isDirty(iova(AT + PAGE + 5))]).toEqual([false, true]);
    expect(table.dirtyPages(all).bitmap).toEqual(seen.bitmap);
    expect(table.dirtyPages(all).count).toBe(0);
    await write(AT);
    expect(table.dirtyPages(all).ranges()).toEqual([{ start: 0x40000n, end: 0x40fffn }]);
    table.setDirtyTracking(false);
  });

  it("is told in pages of any size", async () => {
    const { table, write, all } = await tracked();
    table.setDirtyTracking(true);
    await write(AT + 5 * PAGE);
    const coarse = table.dirtyPages({ ...all, pageSize: 4 * PAGE, clear: false });
    expect([coarse.count, coarse.ranges()]).toEqual([1, [{ start: 0x44000n, end: 0x47fffn }]]);
    expect(table.dirtyPages({ ...all, pageSize: 1024 }).count).toBe(4);
  });

  it.each([
    ["a page size that is none", { pageSize: 3 * PAGE }, "ERR_IOSPAN_INVALID_ARGUMENT"],
    ["no page size at all", { pageSize: 0 }, "ERR_IOSPAN_INVALID_ARGUMENT"],
    ["half a page", { size: PAGE / 2 }, "ERR_IOSPAN_MAP_ALIGNMENT"],
    ["nothing", { size: 0 }, "ERR_IOSPAN_MAP_ALIGNMENT"],
    ["from the middle of a page", { iova: iova(AT + 8) }, "ERR_IOSPAN_MAP_ALIGNMENT"],
    [
      "pages that are smaller than the IOMMU's",
      { iova: iova(AT + 512), size: 512, pageSize: 512 },
      "ERR_IOSPAN_MAP_ALIGNMENT",
    ],
    ["what is not all mapped", { size: 9 * PAGE }, "ERR_IOSPAN_MAP_RANGE"],
  ])("is not told for %s, and nothing is lost", async (_, fields, code) => {
    const { table, write, all } = await tracked();
    table.setDirtyTracking(true);
    await write(AT);
    const about = { device: FIRST, iommu: SMMU0, hint: expect.stringMatching(/./) };
    expect(errorOf(() => table.dirtyPages({ ...all, ...fields }))).toMatchObject({ code, ...about });
    expect(table.dirtyPages(all).count).toBe(1);
  });

  it("is none of a table that was not made for it", async () => {
    const { rig, all } = await tracked();
    const plain = await HwPageTable.allocate(rig.iommufd, await rig.device(SECOND), rig.ioas);
    const facts = { code: "ERR_IOSPAN_NOT_SUPPORTED", errnoName: "EOPNOTSUPP", device: SECOND, iommu: SMMU1 };
    expect(errorOf(() => plain.setDirtyTracking(true))).toMatchObject(facts);
    expect(errorOf(() => plain.setDirtyTracking(false))).toMatchObject(facts);
    expect(errorOf(() => plain.dirtyPages(all))).toMatchObject(facts);
    expect(errorOf(() => plain.dirtyPages(all)).hint).toContain("dirtyTracking: true");
  });

  it.each(["IOMMU_HWPT_GET_DIRTY_BITMAP", "mmap"])("says that %s failed, and keeps no memory", async (call) => {
    const { rig, table, all } = await tracked();
    const before = rig.kernel.addressSpace;
    rig.ioas.close();
    rig.refuse(call, "ENOMEM");
    expect(errorOf(() => table.dirtyPages({ ...all, pageSize: PAGE }))).toMatchObject({
      ...{ errnoName: "ENOMEM", device: FIRST, iommu: SMMU0 },
    });
    expect(rig.kernel.addressSpace).toEqual(before);
  });
});

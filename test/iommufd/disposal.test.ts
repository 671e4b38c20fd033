import { describe, expect, it } from "vitest";
import { HwPageTable } from "../../src/iommufd/hw-page-table.js";
import { Ioas } from "../../src/iommufd/ioas.js";
import { iova } from "../../src/iova.js";
import { errorOf } from "../support/errors.js";
import { FIRST, IommufdRig } from "./rig.js";

const dispose = (each: Disposable) => each[Symbol.dispose]();

describe("an address space that is disposed of", () => {
  it("ends with its block, and gives back what it asked with", async () => {
    const rig = await IommufdRig.open();
    const before = rig.kernel.addressSpace;
    {
      using ioas = Ioas.allocate(rig.iommufd);
      ioas.isMapped(iova(0x10000), 4096n);
      expect(rig.kernel.iommufds[0]?.ioases).toHaveLength(2);
    }
    expect(rig.kernel.iommufds[0]?.ioases).toHaveLength(1);
    expect(rig.kernel.addressSpace).toEqual(before);
  });

  it("is left to the iommufd while a device uses it", async () => {
    const rig = await IommufdRig.open();
    const device = await rig.attached(FIRST);
    rig.ioas.isMapped(iova(0x10000), 4096n);
    dispose(rig.ioas);
    expect(rig.kernel.iommufds[0]?.ioases).toHaveLength(1);
    expect(rig.kernel.addressSpace.filter(({ prot }) => prot === 0)).toEqual([]);
    device.close();
    rig.iommufd.close();
    expect(rig.kernel.iommufds).toEqual([]);
    dispose(rig.ioas);
  });

  it("is not ended twice: its number may be another's by then", async () => {
    const rig = await IommufdRig.open();
    const ioas = Ioas.allocate(rig.iommufd);
    ioas.destroy();
    dispose(ioas);
    const other = Ioas.allocate(rig.iommufd);
    dispose(ioas);
    expect(rig.kernel.iommufds[0]?.ioases.map(({ id }) => id)).toContain(other.id);
  });

  it("says what else is wrong", async () => {
    const rig = await IommufdRig.open();
    rig.refuse("IOMMU_DESTROY", "EIO");
    expect(errorOf(() => dispose(rig.ioas)).errnoName).toBe("EIO");
  });
});

describe("a page table that is disposed of", () => {
  it("ends when nobody uses it, once", async () => {
    const rig = await IommufdRig.open();
    const device = await rig.device(FIRST);
    const table = await HwPageTable.allocate(rig.iommufd, device, rig.ioas);
    const tables = () => rig.kernel.iommufds[0]?.ioases[0]?.hwpts.length;
    await device.attach(table);
    dispose(table);
    expect(tables()).toBe(1);
    device.detach();
    dispose(table);
    expect(tables()).toBe(0);
    dispose(table);
    const other = await HwPageTable.allocate(rig.iommufd, device, rig.ioas);
    dispose(table);
    expect(tables()).toBe(1);
    rig.refuse("IOMMU_DESTROY", "EIO");
    expect(errorOf(() => dispose(other)).errnoName).toBe("EIO");
    device.close();
    rig.iommufd.close();
    dispose(other);
  });
});

import { describe, expect, it } from "vitest";
import { decodeCapabilities } from "../../src/abi/capability.js";
import {
  bitmap,
  dirtyBitmap,
  dmaUnmap,
  VFIO_IOMMU_DIRTY_PAGES,
  VFIO_IOMMU_UNMAP_DMA,
} from "../../src/abi/vfio-container.js";
import { migrationCapability, VFIO_IOMMU_GET_INFO } from "../../src/abi/vfio-container-info.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { outcome, PAGE, Program } from "./program.js";

const A = "0000:02:00.0";
const P = 4096n;

function setUp(release = "7.3.4") {
  const program = new Program(machineOne({ release }));
  const { container } = program.open(A);
  return { program, kernel: program.kernel, container };
}

describe("GET_INFO", () => {
  it("lists migration, available mappings and ranges, in this order", () => {
    const { program, container } = setUp();
    const { bytes, argsz, capOffset } = program.info(container, 120);
    expect([argsz, capOffset]).toEqual([120, 24]);
    const chain = decodeCapabilities(bytes, capOffset);
    expect(chain.map(({ id, version, offset }) => [id, version, offset])).toEqual([
      [2, 1, 24],
      [3, 1, 56],
      [1, 1, 72],
    ]);
    const migration = migrationCapability.decode(chain[0]!.bytes);
    expect([migration.flags, migration.pgsize_bitmap, migration.max_dirty_bitmap_size]).toEqual([0, P, 0x10000000n]);
    expect(program.ranges(container)).toEqual(["0-7ffffff", "8100000-ffffffffffff"]);
  });

  it.each(["5.10.223", "6.1.176"])("%s does not pad the capabilities", (release) => {
    const { program, container } = setUp(release);
    const { bytes, capOffset } = program.info(container, 116);
    expect(decodeCapabilities(bytes, capOffset).map(({ offset }) => offset)).toEqual([24, 56, 68]);
  });

  it("keeps the argsz of a buffer with room to spare", () => {
    const { program, container } = setUp();
    expect(program.info(container, 4096)).toMatchObject({ argsz: 4096, capOffset: 24 });
  });

  it.each([
    [16, 120, 0xdead],
    [19, 120, 0xdead],
    [20, 120, 0],
    [24, 120, 0],
    [119, 120, 0],
  ])("argsz %i: told the size, cap_offset only where it fits", (length, argsz, capOffset) => {
    const { program, container } = setUp();
    expect(program.info(container, length)).toMatchObject({ argsz, capOffset, pageSizes: 0x40201000n });
  });

  it("wants at least 16 bytes, and memory for what argsz promises", () => {
    const { program, kernel, container } = setUp();
    expect(outcome(() => program.info(container, 15))).toBe("EINVAL");
    expect(outcome(() => kernel.ioctl(container, VFIO_IOMMU_GET_INFO, new Uint8Array(8)))).toBe("EFAULT");
    const lying = new Uint8Array(24);
    new DataView(lying.buffer).setUint32(0, 120, true);
    expect(outcome(() => kernel.ioctl(container, VFIO_IOMMU_GET_INFO, lying))).toBe("EFAULT");
  });
});

describe("DIRTY_PAGES", () => {
  it("is for version 2 only", () => {
    const program = new Program(machineOne());
    const container = program.container();
    program.setContainer(program.group(A), container);
    program.setIommu(container, 1);
    expect(outcome(() => program.kernel.ioctl(container, VFIO_IOMMU_DIRTY_PAGES, 0))).toBe("EACCES");
  });

  it("takes one flag at a time", () => {
    const { program, kernel, container } = setUp();
    for (const flags of [0, 3, 5, 6, 7, 8]) expect(outcome(() => program.dirtyPages(container, flags))).toBe("EINVAL");
    expect(
      outcome(() => kernel.ioctl(container, VFIO_IOMMU_DIRTY_PAGES, dirtyBitmap.encode({ argsz: 7, flags: 1 }))),
    ).toBe("EINVAL");
    expect(outcome(() => kernel.ioctl(container, VFIO_IOMMU_DIRTY_PAGES, 0))).toBe("EFAULT");
    expect([1, 1, 2, 2].map((flags) => program.dirtyPages(container, flags))).toEqual([0, 0, 0, 0]);
  });

  it("reports every page every time, in the program's bitmap", () => {
    const { program, container } = setUp();
    const vaddr = program.memory(8 * PAGE);
    const bitmap = program.memory(PAGE);
    const bytes = program.bytes(bitmap, PAGE);
    program.map(container, 0x100000n, 4n * P, vaddr);
    program.map(container, 0x106000n, 2n * P, vaddr);
    program.dirtyPages(container, 1);
    for (let time = 0; time < 2; time++) {
      bytes.fill(0);
      expect(program.getDirty(container, 0x100000n, 8n * P, bitmap)).toBe(0);
      expect([...bytes.subarray(0, 9)]).toEqual([0b1100_1111, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
  });

  it("keeps the bits below a mapping in its first word", () => {
    const { program, container } = setUp();
    const bitmap = program.memory(PAGE);
    const bytes = program.bytes(bitmap, PAGE);
    bytes.fill(0xff);
    program.map(container, 4n * P, P, program.memory(PAGE));
    program.dirtyPages(container, 1);
    program.getDirty(container, 0n, 8n * P, bitmap);
    expect([...bytes.subarray(0, 9)]).toEqual([0b1_1111, 0, 0, 0, 0, 0, 0, 0, 0xff]);
  });

  it.each([
    ["size 0", 0n, 0n, 8n, P, "EINVAL"],
    ["a wrap", 2n ** 64n - P, 2n * P, 8n, P, "EOVERFLOW"],
    ["an empty bitmap", 0n, 4n * P, 0n, P, "EINVAL"],
    ["a bitmap that is no multiple of 8 bytes but large enough", 0n, 4n * P, 9n, P, 0],
    ["a bitmap too small", 0n, 65n * P, 8n, P, "EINVAL"],
    ["another page size", 0n, 2n ** 21n, 8n, 2n ** 21n, "EINVAL"],
    ["inside a page", 8n, 4n * P, 8n, P, "EINVAL"],
    ["half a mapping", 0n, P, 8n, P, "EINVAL"],
    ["nothing mapped", 2n ** 40n, P, 8n, P, 0],
  ])("%s", (_name, iova, size, bitmapSize, pgsize, expected) => {
    const { program, container } = setUp();
    program.map(container, 0n, 4n * P, program.memory(4 * PAGE));
    program.dirtyPages(container, 1);
    expect(outcome(() => program.getDirty(container, iova, size, program.memory(PAGE), bitmapSize, pgsize))).toBe(
      expected,
    );
  });

  it("comes with an unmap, too", () => {
    const { program, kernel, container } = setUp();
    const data = program.memory(PAGE);
    program.map(container, 0n, 3n * P, program.memory(4 * PAGE));
    const unmap = (argsz: number) => {
      const dirty = bitmap.encode({ pgsize: P, size: 8n, data });
      const bytes = dmaUnmap.encode({ argsz, flags: 1, iova: 0n, size: 4n * P }, dirty);
      const answer = outcome(() => kernel.ioctl(container, VFIO_IOMMU_UNMAP_DMA, bytes));
      return [answer, dmaUnmap.decode(bytes).size, program.bytes(data, PAGE)[0]];
    };
    expect(unmap(48)).toEqual(["EINVAL", 4n * P, 0]);
    program.dirtyPages(container, 1);
    expect(unmap(47)).toEqual(["EINVAL", 4n * P, 0]);
    expect(unmap(48)).toEqual([0, 3n * P, 0b111]);
    expect(kernel.lockedBytes).toBe(0);
  });

  it("needs tracking, and memory for the bitmap", () => {
    const { program, container } = setUp();
    program.map(container, 0n, P, program.memory(PAGE));
    const get = () => outcome(() => program.getDirty(container, 0n, P, 0x1000n));
    expect(get()).toBe("EINVAL");
    program.dirtyPages(container, 1);
    expect(get()).toBe("EFAULT");
    program.dirtyPages(container, 2);
    expect(get()).toBe("EINVAL");
  });
});

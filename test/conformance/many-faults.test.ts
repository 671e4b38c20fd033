import { DmaMemory, type Fault, faulty, IoAddressSpace } from "iospan";
import { describe, expect, it } from "vitest";
import { edus, proveDma } from "./dma-proof.js";
import { consistent, refused } from "./expect.js";
import { manyMachine, mappedIn, nothingLeft, oneEach } from "./many-machine.js";

const COUNTS = [1, 2, 3, 4, 5, 6, 7, 8] as const;

/** A system call of a strategy that fails the nth time. */
const failing = (name: string, nth: number, errno = 22): Fault => ({
  match: (call) => call.ioctl?.name === name,
  nth,
  errno,
});

describe("a failure at the k-th of eight", () => {
  it.each([
    ...COUNTS.map((nth) => ["mirrored", "VFIO_IOMMU_MAP_DMA", nth] as const),
    ["shared-container", "VFIO_IOMMU_MAP_DMA", 1] as const,
    ["iommufd", "IOMMU_IOAS_MAP", 1] as const,
  ])("undoes a map everywhere, with the strategy %s: %s number %d", async (strategy, call, nth) => {
    const many = manyMachine(oneEach(8));
    const syscalls = faulty(many.kernel);
    {
      await using space = await IoAddressSpace.open({ syscalls }, many.names, { strategy });
      using memory = DmaMemory.allocate({ syscalls }, 4096);
      for (const asked of [0x40_0000n, undefined]) {
        syscalls.fault = failing(call, nth, 12);
        await refused("ERR_IOSPAN_NO_MEMORY", () => space.map(memory, { iova: asked }));
        syscalls.fault = undefined;
        expect([mappedIn(many.kernel), many.kernel.pinnedPages]).toEqual([[], 0]);
        consistent(space, 0);
      }
      // The address is free again.
      await using _mapping = await space.map(memory, { iova: 0x40_0000n });
      expect(mappedIn(many.kernel)).toHaveLength(8);
      await proveDma({ syscalls }, space, edus(space));
    }
    nothingLeft(many.kernel);
  });

  it.each(COUNTS)("leaves a mapping everywhere that unmapping was refused for, number %d", async (nth) => {
    const many = manyMachine(oneEach(8));
    const syscalls = faulty(many.kernel);
    await using space = await IoAddressSpace.open({ syscalls }, many.names, { strategy: "mirrored" });
    using buffer = space.allocate(4096, { iova: 0x40_0000 });
    syscalls.fault = failing("VFIO_IOMMU_UNMAP_DMA", nth);
    await refused("ERR_IOSPAN_UNMAP_REFUSED", () => buffer.unmap());
    syscalls.fault = undefined;
    expect(mappedIn(many.kernel)).toHaveLength(8);
    consistent(space, 1);
    await proveDma({ syscalls }, space, edus(space));
  });

  it.each(
    COUNTS.flatMap((nth) => [
      ["mirrored", "VFIO_SET_IOMMU", nth] as const,
      ["shared-container", "VFIO_GROUP_SET_CONTAINER", nth] as const,
      ["iommufd", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", nth] as const,
    ]),
  )(
    "leaves nothing of a space that cannot be opened, with the strategy %s: %s number %d",
    async (strategy, call, nth) => {
      const many = manyMachine(oneEach(8));
      const syscalls = faulty(many.kernel, failing(call, nth));
      const error = await refused("ERR_IOSPAN_ATTACH_REFUSED", () =>
        IoAddressSpace.open({ syscalls }, many.names, { strategy }),
      );
      expect(error.device).toBe(many.names[nth - 1]);
      nothingLeft(many.kernel);
    },
  );
});

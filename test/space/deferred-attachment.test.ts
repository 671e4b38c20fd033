import { DmaMemory, IoAddressSpace } from "iospan";
import { describe, expect, it } from "vitest";
import { chipRig } from "../conformance/simulated-chip.js";
import { errorFrom } from "../support/errors.js";

// Where an iommufd is the container, an IOMMU comes behind it when a device is opened: what it allows is known only then.

const strategies = ["mirrored", "shared-container"] as const;
const GRANULE = 65536;
const FIRST_WINDOW = 0x4000_0000;
const SECOND_WINDOW = 0x1000_0000;

async function start(chip: string, strategy: (typeof strategies)[number]) {
  const rig = chipRig(chip, strategy, { container: "iommufd" });
  const space = await IoAddressSpace.open(rig.machine, [rig.first], { strategy });
  const memory = DmaMemory.allocate(rig.machine, GRANULE, { alignment: GRANULE });
  return { ...rig, space, memory };
}

describe.each(strategies)("a device that the strategy %s brings in by opening it", (strategy) => {
  it("tells what its IOMMU allows", async () => {
    const { space, second } = await start("dual-smmu", strategy);
    const ranges = space.iovaRanges.ranges;
    expect(ranges.map(({ start }) => start)).toEqual([0n, 0x810_0000n]);
    expect(space.pageSizes.bitmap).toBe(0x4020_1000n);
    await space.attach(second);
    expect(space.iovaRanges.ranges).toEqual(ranges);
  });

  it("narrows the limits, and widens them when it goes", async () => {
    const { space, second } = await start("unequal-aperture", strategy);
    const ranges = space.iovaRanges.ranges;
    await space.attach(second);
    expect(space.iovaRanges.ranges).not.toEqual(ranges);
    expect(space.iovaRanges.removed.at(-1)?.by.length).toBeGreaterThan(0);
    await space.detach(second);
    expect(space.iovaRanges.ranges).toEqual(ranges);
  });

  it.each([
    ["a reserved window", "unequal-reserved", SECOND_WINDOW],
    ["what is beyond its aperture", "unequal-aperture", 2 ** 44],
  ] as const)("is refused where a mapping lies in %s, and all is as before", async (_, chip, iova) => {
    const { space, memory, machine, first, second } = await start(chip, strategy);
    const mapping = await space.map(memory, { iova });
    const before = { files: machine.openFds, pins: machine.pinnedPages, ranges: space.iovaRanges.ranges };
    const error = await errorFrom(space.attach(second));
    // With a container of its own the mappings are looked at by the space, in a shared one by the kernel.
    const code = strategy === "mirrored" ? "ERR_IOSPAN_MAP_RANGE" : "ERR_IOSPAN_ATTACH_REFUSED";
    expect(error).toMatchObject({ code, device: second });
    expect({ files: machine.openFds, pins: machine.pinnedPages, ranges: space.iovaRanges.ranges }).toEqual(before);
    expect(space.interfaces).toEqual([first]);
    expect(space.audit().consistent).toBe(true);
    await mapping.unmap();
    await space.attach(second);
    await space.map(memory);
    expect(space.audit().consistent).toBe(true);
  });

  it("is refused where its IOMMU's pages are larger than the processor's, however it is asked", async () => {
    const { space, machine, first, second } = await start("unequal-granules", strategy);
    const before = machine.openFds;
    const error = await errorFrom(space.attach(second));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_ATTACH_REFUSED", errnoName: "EINVAL", device: second });
    expect(error.hint).toContain("CONFIG_VFIO_CONTAINER");
    expect(space.interfaces).toEqual([first]);
    expect(machine.openFds).toEqual(before);
  });

  it("keeps its own window free for as long as it is there", async () => {
    const { space, memory, second, first } = await start("unequal-reserved", strategy);
    await space.attach(second);
    for (const iova of [FIRST_WINDOW, SECOND_WINDOW]) {
      expect((await errorFrom(space.map(memory, { iova }))).code).toBe("ERR_IOSPAN_MAP_RANGE");
    }
    await space.detach(first);
    await space.map(memory, { iova: FIRST_WINDOW });
    expect((await errorFrom(space.attach(first))).device).toBe(first);
    expect(space.audit().consistent).toBe(true);
  });
});

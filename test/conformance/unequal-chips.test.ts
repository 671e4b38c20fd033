import { DmaMemory, IoAddressSpace } from "iospan";
import { describe, expect, it } from "vitest";
import { EDU_BUFFER_SIZE, Edu } from "../../examples/edu/edu.js";
import { refused } from "./expect.js";
import { type ChipRig, chipNames, chipRig } from "./simulated-chip.js";

// What the scenarios meet on chips whose SMMUs differ, said in so many words: they are to be in the way there.

const KIB = 1024;
const SMMU0 = "smmu3.0x000000000c000000";
const SMMU1 = "smmu3.0x000000000c020000";
/** The window in which the kernel maps doorbells. */
const MSI = { start: 0x800_0000n, end: 0x80f_ffffn, by: [SMMU0, SMMU1] };
const LAST = 2n ** 64n - 1n;
const ABOVE_48_BITS = { start: 2n ** 48n, end: LAST, by: [SMMU0, SMMU1] };

const open = ({ machine, first, second, strategy }: ChipRig, names = [first, second]) =>
  IoAddressSpace.open(machine, names, { strategy });

describe.each(["mirrored", "shared-container", "iommufd"] as const)("with the strategy %s", (strategy) => {
  it("the aperture is the smaller one, and both reach its last page", async () => {
    const rig = chipRig("unequal-aperture", strategy);
    await using space = await open(rig);
    expect(space.iovaRanges.ranges.at(-1)?.end).toBe(2n ** 39n - 1n);
    if (strategy === "mirrored") {
      const onlySmmu1 = { start: 2n ** 39n, end: 2n ** 48n - 1n, by: [SMMU1] };
      expect(space.iovaRanges.removed).toEqual([MSI, onlySmmu1, ABOVE_48_BITS]);
    }
    using from = space.allocate(EDU_BUFFER_SIZE, { iova: 2n ** 39n - BigInt(EDU_BUFFER_SIZE) });
    using to = space.allocate(EDU_BUFFER_SIZE);
    for (const name of [rig.first, rig.second]) {
      from.bytes.fill(name.length);
      to.bytes.fill(0);
      await new Edu(space.interface(name)).copy(from.iova, to.iova, EDU_BUFFER_SIZE);
      expect(to.bytes).toEqual(from.bytes);
    }
    await refused("ERR_IOSPAN_MAP_RANGE", () => space.allocate(4 * KIB, { iova: 2n ** 39n }));
    expect(rig.machine.kernelLog).toEqual([]);
  });

  it("a device whose aperture is smaller cannot have what is mapped above it", async () => {
    const rig = chipRig("unequal-aperture", strategy);
    await using space = await open(rig, [rig.first]);
    const high = space.allocate(4 * KIB, { iova: 2n ** 39n });
    await expect(space.attach(rig.second)).rejects.toThrow(rig.second);
    high.free();
    await space.attach(rig.second);
  });

  it("the windows of both are left out", async () => {
    const rig = chipRig("unequal-reserved", strategy);
    await using space = await open(rig);
    const windows = [
      { start: 0x1000_0000n, end: 0x100f_ffffn, by: [SMMU1] },
      { start: 0x4000_0000n, end: 0x4fff_ffffn, by: [SMMU0] },
    ];
    const gaps = space.iovaRanges.ranges.slice(1).map(({ start }, index) => ({
      start: (space.iovaRanges.ranges[index]?.end ?? 0n) + 1n,
      end: start - 1n,
    }));
    expect(gaps).toEqual([MSI, ...windows].map(({ start, end }) => ({ start, end })));
    if (strategy === "mirrored") expect(space.iovaRanges.removed).toEqual([MSI, ...windows, ABOVE_48_BITS]);
    for (const { start, end } of windows) {
      await refused("ERR_IOSPAN_MAP_RANGE", () => space.allocate(4 * KIB, { iova: start }));
      await refused("ERR_IOSPAN_MAP_RANGE", () => space.allocate(4 * KIB, { iova: end + 1n - 4096n }));
      space.allocate(4 * KIB, { iova: start - 4096n }).free();
      space.allocate(4 * KIB, { iova: end + 1n }).free();
    }
  });

  it("a device cannot have what is mapped in its window", async () => {
    const rig = chipRig("unequal-reserved", strategy);
    await using space = await open(rig, [rig.first]);
    const inside = space.allocate(4 * KIB, { iova: 0x1008_0000 });
    await expect(space.attach(rig.second)).rejects.toThrow(rig.second);
    inside.free();
    await space.attach(rig.second);
  });
});

describe("pages of 4 KiB and of 64 KiB", () => {
  it("make mappings of 64 KiB, in containers of their own", async () => {
    const rig = chipRig("unequal-granules", "mirrored");
    await using space = await open(rig);
    expect(space.granule).toBe(64 * KIB);
    expect(space.pageSizes).toEqual({
      bitmap: 0n,
      removed: [
        { size: 4 * KIB, by: [SMMU1] },
        { size: 64 * KIB, by: [SMMU0] },
        { size: 2 * KIB * KIB, by: [SMMU1] },
        { size: 512 * KIB * KIB, by: [SMMU0] },
        { size: KIB * KIB * KIB, by: [SMMU1] },
      ],
    });
    using memory = DmaMemory.allocate(rig.machine, 64 * KIB, { alignment: 64 * KIB });
    for (const options of [{ size: 4 * KIB }, { iova: 0x1000 }, { offset: 4 * KIB, size: 4 * KIB }]) {
      await refused("ERR_IOSPAN_MAP_ALIGNMENT", () => space.map(memory, options));
    }
    await using _mapping = await space.map(memory);
    expect(space.audit().differences).toEqual([]);
  });

  it("leave a device with the larger ones out of what is mapped in the smaller", async () => {
    const rig = chipRig("unequal-granules", "mirrored");
    await using space = await open(rig, [rig.first]);
    const small = space.allocate(4 * KIB);
    await refused("ERR_IOSPAN_MAP_ALIGNMENT", () => space.attach(rig.second));
    small.free();
    await space.attach(rig.second);
  });

  it("have no MSIs where the kernel's own are smaller than the IOMMU's", async () => {
    const rig = chipRig("unequal-granules", "mirrored");
    await using space = await open(rig);
    const error = await refused("ERR_IOSPAN_INTERRUPT_REFUSED", () => space.interface(rig.second).interrupt("msi"));
    expect(error.errnoName).toBe("ENOMEM");
    space.interface(rig.second).interrupt("intx").close();
    space.interface(rig.first).interrupt("msi").close();
  });

  it.each(["shared-container", "iommufd"] as const)("are refused by the strategy %s", async (strategy) => {
    const rig = chipRig("unequal-granules", strategy);
    const error = await refused("ERR_IOSPAN_ATTACH_REFUSED", () => open(rig));
    expect(error.device).toBe(rig.second);
    expect(error.hint).toMatch(/mirrored/);
    expect(rig.openFiles()).toEqual([]);
  });

  it("have auto mirror, and say why", async () => {
    const { machine, first, second } = chipRig("unequal-granules", "mirrored");
    await using space = await IoAddressSpace.open(machine, [first, second]);
    expect(space.strategy).toBe("mirrored");
    const passedOver = space.plan.filter(({ chosen }) => !chosen);
    expect(passedOver.find(({ strategy }) => strategy === "shared-container")?.reason).toMatch(/page size in common/);
  });
});

it.each(chipNames.filter((chip) => chip !== "one-smmu"))(
  "one domain is refused across the SMMUs of %s",
  async (chip) => {
    const rig = chipRig(chip, "single-domain");
    const error = await refused("ERR_IOSPAN_ATTACH_REFUSED", () => open(rig));
    expect(error.errnoName).toBe("EINVAL");
    expect(error.device).toBe(rig.second);
    expect(rig.openFiles()).toEqual([]);
  },
);

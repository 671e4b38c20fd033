import { IoAddressSpace, type StrategyName } from "iospan";
import { describe, expect, it } from "vitest";
import { inert } from "../../src/sim/hw/device-model.js";
import type { MachineDescription } from "../../src/sim/linux/description.js";
import { edus, proveDma } from "./dma-proof.js";
import { consistent, refused } from "./expect.js";
import { type ManyMachine, manyMachine, mappedIn, nothingLeft, oneEach } from "./many-machine.js";

const STRATEGIES = ["mirrored", "shared-container", "iommufd"] as const;
const COUNTS = [1, 2, 3, 4, 5, 6, 7, 8] as const;

const open = ({ machine, names }: ManyMachine, strategy: StrategyName, some: readonly string[] = names) =>
  IoAddressSpace.open(machine, some, { strategy });

const opened = ({ openFds }: ManyMachine["kernel"], path: RegExp) =>
  openFds.filter((each) => path.test(each.path)).length;

/** How many containers, and page tables in them or in an iommufd, a strategy takes for so many SMMUs. */
function footprint(strategy: StrategyName, smmus: number): { containers: number; tables: number; pins: number } {
  if (strategy === "mirrored") return { containers: smmus, tables: smmus, pins: smmus };
  return { containers: strategy === "iommufd" ? 0 : 1, tables: smmus, pins: 1 };
}

describe.each(STRATEGIES)("with the strategy %s", (strategy) => {
  describe.each(COUNTS)("%d interfaces behind an SMMU each", (count) => {
    it("see the same memory, while others leave and come, and then none", async () => {
      const many = manyMachine(oneEach(count));
      const { kernel, machine, names, iommuOf } = many;
      {
        await using space = await open(many, strategy);
        using buffer = space.allocate(4096, { hugePages: "no" });
        const { containers, tables, pins } = footprint(strategy, count);
        expect([kernel.containers.length, kernel.pinnedPages]).toEqual([containers, pins]);
        expect([...mappedIn(kernel)].sort()).toEqual(names.map(iommuOf).sort());
        expect(mappedIn(kernel)).toHaveLength(tables);
        await proveDma(machine, space, edus(space));
        const middle = names[count >> 1] ?? "";
        await space.detach(middle);
        expect(mappedIn(kernel)).not.toContain(iommuOf(middle));
        if (count > 1) await proveDma(machine, space, edus(space));
        await space.attach(middle);
        await proveDma(machine, space, edus(space));
        consistent(space, 1);
        await buffer.unmap();
        expect(mappedIn(kernel)).toEqual([]);
        consistent(space, 0);
      }
      nothingLeft(kernel);
    });

    it("are attached one by one, and have every mapping from then on", async () => {
      const many = manyMachine(oneEach(count));
      {
        await using space = await open(many, strategy, many.names.slice(0, 1));
        using _early = space.allocate(8192);
        for (const name of many.names.slice(1)) await space.attach(name);
        await proveDma(many.machine, space, edus(space));
        for (const name of many.names.slice(0, -1)) await space.detach(name);
        await proveDma(many.machine, space, edus(space));
        consistent(space, 1);
      }
      nothingLeft(many.kernel);
    });
  });

  it.each([1, 2, 3])("8 interfaces behind %d SMMUs share what is made for one", async (smmus) => {
    const seats = Array.from({ length: 8 }, (_, index) => ({ ...oneEach(8)[index], smmu: index % smmus }));
    const many = manyMachine(seats);
    {
      await using space = await open(many, strategy);
      using _buffer = space.allocate(4096);
      const { containers } = footprint(strategy, smmus);
      expect(opened(many.kernel, /^\/dev\/vfio\/vfio$/)).toBe(containers);
      expect(mappedIn(many.kernel)).toHaveLength(smmus);
      await proveDma(many.machine, space, edus(space));
      // All but one of an SMMU's leave, and its table stays for that one.
      for (const name of many.names.slice(smmus)) await space.detach(name);
      expect(opened(many.kernel, /^\/dev\/vfio\/vfio$/)).toBe(containers);
      expect(mappedIn(many.kernel)).toHaveLength(smmus);
      await proveDma(many.machine, space, edus(space));
    }
    nothingLeft(many.kernel);
  });

  it("several devices of a group come and go by themselves", async () => {
    const many = manyMachine([
      { smmu: 0, group: 0 },
      { smmu: 0, group: 0 },
      { smmu: 1, bus: "platform" },
      { smmu: 0, group: 0 },
      { smmu: 1, group: 1 },
      { smmu: 1, group: 1 },
    ]);
    const [first = "", second = "", port = "", third = "", ...pair] = many.names;
    {
      await using space = await open(many, strategy);
      using _buffer = space.allocate(4096);
      expect(opened(many.kernel, /^\/dev\/vfio\/\d+$/)).toBe(strategy === "iommufd" ? 0 : 3);
      await proveDma(many.machine, space, edus(space));
      await space.detach(first);
      await space.detach(third);
      await proveDma(many.machine, space, edus(space));
      await space.detach(second);
      await space.attach(third);
      expect(space.interfaces).toEqual([port, ...pair, third]);
      await proveDma(many.machine, space, edus(space));
      consistent(space, 1);
    }
    nothingLeft(many.kernel);
  });

  it("devices of different kinds are in one space, and those that do no DMA do not hinder the others", async () => {
    const base = manyMachine(oneEach(3));
    const nvme = { vendor: 0x1b36, device: 0x10, classCode: 0x01_0802, intx: true } as const;
    const others: MachineDescription["devices"] = [0, 1].map((index) => ({
      bus: "pci" as const,
      name: `0000:4${index}:00.0`,
      iommu: base.iommuOf(base.names[index] ?? ""),
      driver: "vfio-pci",
      model: inert(nvme),
    }));
    const { description } = base;
    const many = manyMachine(oneEach(3), { devices: [...description.devices, ...others] });
    {
      await using space = await open(many, strategy, [...others.map(({ name }) => name), ...many.names]);
      await proveDma(many.machine, space, edus(space, many.names));
      expect(space.interfaces).toHaveLength(5);
    }
    nothingLeft(many.kernel);
  });

  it("two spaces of a process have the same IOVAs and nothing in common", async () => {
    const many = manyMachine(oneEach(6));
    const halves = [many.names.slice(0, 3), many.names.slice(3)] as const;
    {
      await using one = await open(many, strategy, halves[0]);
      await using other = await open(many, strategy, halves[1]);
      using mine = one.allocate(4096, { iova: 0x40_0000 });
      using theirs = other.allocate(4096, { iova: 0x40_0000 });
      mine.bytes.fill(0x11);
      theirs.bytes.fill(0x22);
      for (const [space, value] of [
        [one, 0x11],
        [other, 0x22],
      ] as const) {
        using seen = space.allocate(4096);
        for (const mover of edus(space)) {
          seen.bytes.fill(0);
          await mover.copy(mine.iova, seen.iova, 4096);
          expect(seen.bytes.every((byte) => byte === value)).toBe(true);
        }
      }
      await proveDma(many.machine, one, edus(one));
      await one.close();
      await proveDma(many.machine, other, edus(other));
      expect(theirs.bytes.every((byte) => byte === 0x22)).toBe(true);
    }
    nothingLeft(many.kernel);
  });

  it("a group that another space of the process has is refused, and the holder named; nothing is kept of the others", async () => {
    const many = manyMachine([...oneEach(4), { smmu: 0, group: 0 }, { smmu: 0, group: 0 }]);
    const [first = "", second = "", third = "", , inGroup = "", companion = ""] = many.names;
    await using space = await open(many, strategy, [first, inGroup]);
    const before = many.kernel.openFds.length;
    // A companion of a device that an iommufd has: EPERM, which has other reasons, too.
    const ofCompanion = strategy === "iommufd" ? "ERR_IOSPAN_UNSAFE_INTERRUPTS" : "ERR_IOSPAN_GROUP_BUSY";
    for (const [names, code] of [
      [[second, third, first], "ERR_IOSPAN_GROUP_BUSY"],
      [[third, companion], ofCompanion],
    ] as const) {
      const error = await refused(code, () => open(many, strategy, names));
      expect(error.device).toBe(names.at(-1));
      if (code === "ERR_IOSPAN_GROUP_BUSY") expect(error.message).toContain("this very process");
      expect(many.kernel.openFds).toHaveLength(before);
    }
    await proveDma(many.machine, space, edus(space));
  });
});

it("auto opens eight interfaces behind an SMMU each as an iommufd does", async () => {
  const many = manyMachine(oneEach(8));
  {
    await using space = await IoAddressSpace.open(many.machine, many.names);
    expect(space.strategy).toBe("iommufd");
    using _buffer = space.allocate(4096);
    expect([many.kernel.containers.length, mappedIn(many.kernel).length]).toEqual([0, 8]);
    await proveDma(many.machine, space, edus(space));
    consistent(space, 1);
  }
  nothingLeft(many.kernel);
});

import { describe, expect, it } from "vitest";
import { simulate } from "../../src/sim/simulate.js";
import { DmaMemory } from "../../src/space/dma-memory.js";
import { IoAddressSpace } from "../../src/space/io-address-space.js";
import { chipSource, edited } from "../sim/chip/board.js";
import { errorFrom, thrownBy } from "../support/errors.js";

const KIB = 1024;
const MIB = 1024 * KIB;
/** The second is behind an SMMU with pages of 64 KiB only. */
const DEVICES = ["0000:01:00.0", "9030000.dma-port"];
const SIZES = Array.from({ length: 10 }, (_, power) => 4 * KIB * 2 ** power);

async function open() {
  const machine = simulate(chipSource("unequal-granules"), { drivers: "vfio" });
  return { machine, space: await IoAddressSpace.open(machine, DEVICES) };
}

describe("IOMMU pages larger than the processor's", () => {
  it("allocate() takes contiguous memory, whatever was allocated before", async () => {
    const { machine, space } = await open();
    await using _closing = space;
    using _odd = DmaMemory.allocate(machine, 4 * KIB);
    for (const size of [...SIZES, 4 * KIB, 12 * KIB, 3 * MIB]) {
      const buffer = space.allocate(size);
      expect([buffer.size % (2 * MIB), buffer.size >= size, Number(buffer.iova) % space.granule]).toEqual([0, true, 0]);
      using _between = DmaMemory.allocate(machine, 12 * KIB, { hugePages: "no" });
    }
    using file = space.allocate(4 * KIB, { backing: "memfd" });
    expect([space.granule, file.size, space.audit().consistent]).toEqual([64 * KIB, 2 * MIB, true]);
  });

  it("says what is to be done where the memory is scattered", async () => {
    const { machine, space } = await open();
    await using _closing = space;
    using _odd = DmaMemory.allocate(machine, 4 * KIB, { hugePages: "no" });
    const said = {
      code: "ERR_IOSPAN_MAP_RANGE",
      message: expect.stringContaining("not physically contiguous"),
      hint: expect.stringContaining('hugePages: "2MiB"'),
    };
    using scattered = DmaMemory.allocate(machine, 64 * KIB, { alignment: 64 * KIB });
    expect(await errorFrom(space.map(scattered))).toMatchObject(said);
    expect(thrownBy(() => space.allocate(4 * KIB, { hugePages: "no" }))).toMatchObject(said);
    expect(space.mappings).toEqual([]);
  });
});

describe("a machine with 64 MiB of memory", () => {
  const small = edited(chipSource("dual-smmu"), [
    "reg = <0x0 0x40000000 0x1 0x0>",
    "reg = <0x0 0x40000000 0x0 0x4000000>",
  ]);

  it("has the memory of freed buffers back at once, views of them or not", async () => {
    const machine = simulate(small, { drivers: "vfio" });
    await using space = await IoAddressSpace.open(machine, machine.interfaces.map(({ name }) => name).slice(0, 1));
    const views: Uint8Array[] = [];
    for (let round = 0; round < 64; round++) {
      using buffer = space.allocate(2 * MIB);
      buffer.bytes[0] = 1;
      views.push(buffer.bytes);
    }
    expect([machine.usedMemory, views.every(([first]) => first === 0)]).toEqual([0, true]);
  });

  it("says that it is out of memory", async () => {
    const machine = simulate(small, { drivers: "vfio" });
    await using space = await IoAddressSpace.open(machine, machine.interfaces.map(({ name }) => name).slice(0, 1));
    const fill = () => {
      for (let round = 0; round < 40; round++) space.allocate(2 * MIB);
    };
    expect(thrownBy(fill)).toMatchObject({
      code: "ERR_IOSPAN_NO_MEMORY",
      hint: expect.stringContaining("free memory"),
    });
  });
});

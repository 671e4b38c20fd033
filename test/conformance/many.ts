import assert from "node:assert/strict";
import { DmaMemory, IoAddressSpace } from "iospan";
import { EDU_BUFFER_SIZE, Edu } from "../../examples/edu/edu.js";
import { edus, proveDma } from "./dma-proof.js";
import { consistent, refused, sameBytes } from "./expect.js";
import { granuleOf } from "./granule.js";
import { isMirrored, mechanismOf } from "./mechanism.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

// More than two interfaces, and more than one space.

const open = ({ machine, strategy }: Rig, names: readonly string[]) =>
  IoAddressSpace.open(machine, names, { strategy });

const SIZE = EDU_BUFFER_SIZE;
/** Where both of two spaces map. */
const SHARED_IOVA = 0x40_0000n;

const pattern = (seed: number) => Uint8Array.from({ length: SIZE }, (_, index) => (index * 11 + seed * 83) & 0xff);

/** Files that were opened since, by a part of their path. */
function opened({ openFiles }: Rig, before: readonly string[]): (part: RegExp) => number {
  const count = (files: readonly string[], part: RegExp) => files.filter((path) => part.test(path)).length;
  const now = openFiles();
  return (part) => count(now, part) - count(before, part);
}

/** Memory at {@link SHARED_IOVA}, with a page to copy from and one to copy to, granules apart. */
async function sharedPlace(rig: Rig, space: IoAddressSpace) {
  const granule = granuleOf(rig);
  const memory = DmaMemory.allocate(rig.machine, 2 * granule, { alignment: granule });
  const from = await space.map(memory, { iova: SHARED_IOVA, size: granule });
  const to = await space.map(memory, { iova: SHARED_IOVA + BigInt(granule), offset: granule });
  return { memory, from, to };
}

/** What is mapped while the other IOMMU is away is made of pages that are too small for it, and memory is scattered then. */
const largePages: Scenario["skip"] = (rig) =>
  granuleOf(rig) > rig.machine.syscalls.pageSize
    ? "an IOMMU's pages are larger than the processor's: ordinary memory suits it by luck only"
    : undefined;

export const many: readonly Scenario[] = [
  scenario("interfaces behind one IOMMU share what is opened for it", async (rig) => {
    const before = rig.openFiles();
    const names = [rig.first, rig.neighbour, rig.second];
    {
      await using space = await open(rig, names);
      const since = opened(rig, before);
      if (mechanismOf(rig.strategy) === "iommufd") {
        assert.equal(since(/\/dev\/vfio\/devices\//), names.length);
        assert.equal(since(/\/dev\/vfio\/(vfio$|\d)/), 0, "no container and no group");
      } else {
        if (rig.compatContainer !== true) assert.equal(since(/\/dev\/vfio\/vfio$/), isMirrored(rig) ? 2 : 1);
        assert.equal(since(/\/dev\/vfio\/\d+$/), names.length);
      }
      using _buffer = space.allocate(granuleOf(rig));
      consistent(space, 1);
    }
    assert.deepEqual(rig.openFiles(), before);
  }),

  scenario(
    "the interface in the middle goes and comes back, and the others' DMA goes on",
    async (rig) => {
      await using space = await open(rig, [rig.first, rig.second, rig.neighbour]);
      using _buffer = space.allocate(granuleOf(rig));
      const engines = [rig.first, rig.second];
      await space.detach(rig.second);
      assert.deepEqual(space.interfaces, [rig.first, rig.neighbour]);
      await proveDma(rig.machine, space, edus(space, [rig.first]));
      await space.attach(rig.second);
      await space.detach(rig.first);
      await proveDma(rig.machine, space, edus(space, [rig.second]));
      await space.attach(rig.first);
      await proveDma(rig.machine, space, edus(space, engines));
      consistent(space, 1);
    },
    largePages,
  ),

  scenario("two spaces of a process have different memory at the same IOVA, and nothing in common", async (rig) => {
    await using one = await open(rig, [rig.first]);
    await using other = await open(rig, [rig.second]);
    const places = [await sharedPlace(rig, one), await sharedPlace(rig, other)] as const;
    try {
      for (const [index, { from, to }] of places.entries()) {
        from.bytes.set(pattern(index));
        to.bytes.fill(0);
      }
      const engines = [new Edu(one.interface(rig.first)), new Edu(other.interface(rig.second))];
      await Promise.all(engines.map((engine) => engine.copy(places[0].from.iova, places[0].to.iova, SIZE)));
      for (const [index, { to }] of places.entries())
        sameBytes(to.bytes.slice(0, SIZE), pattern(index), `what space ${index} has`);
      await places[0].from.unmap();
      await places[0].to.unmap();
      consistent(one, 0);
      consistent(other, 2);
      places[1].to.bytes.fill(0);
      await engines[1]?.copy(places[1].from.iova, places[1].to.iova, SIZE);
      sameBytes(places[1].to.bytes.slice(0, SIZE), pattern(1), "what is left");
    } finally {
      for (const { memory, from, to } of places) {
        await from.unmap();
        await to.unmap();
        memory.release();
      }
    }
  }),

  scenario("a second space over a group is refused, and told that this very process has it", async (rig) => {
    await using space = await open(rig, [rig.first, rig.neighbour]);
    using _buffer = space.allocate(granuleOf(rig));
    const before = rig.openFiles();
    for (const names of [[rig.first], [rig.second, rig.first], [rig.second, rig.neighbour]]) {
      const error = await refused("ERR_IOSPAN_GROUP_BUSY", () => open(rig, names));
      assert.equal(error.device, names.at(-1));
      assert.match(error.message, /this very process/);
      assert.deepEqual(rig.openFiles(), before);
    }
    const byAuto = await refused("ERR_IOSPAN_GROUP_BUSY", () => IoAddressSpace.open(rig.machine, [rig.first]));
    assert.match(byAuto.message, /this very process/);
    assert.deepEqual(rig.openFiles(), before);
    consistent(space, 1);
    await proveDma(rig.machine, space, edus(space, [rig.first]));
  }),
];

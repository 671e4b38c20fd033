import assert from "node:assert/strict";
import { DmaMemory, type Fd, IoAddressSpace, type Machine, type Syscalls } from "iospan";
import { dmaMap, dmaUnmap, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA } from "../../src/abi/vfio-container.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import { consistent, refused } from "./expect.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

const PAGE = 4096;

/** A machine that tells which containers were made, so that a scenario can tamper with one behind the space's back. */
function watched(machine: Machine): { machine: Machine; containers: Fd[] } {
  const containers: Fd[] = [];
  const syscalls: Syscalls = intercepted(machine.syscalls, (call, proceed) => {
    if (call.ioctl?.name === "VFIO_SET_IOMMU" && call.fd !== undefined) containers.push(call.fd);
    return proceed();
  });
  return { machine: { syscalls }, containers };
}

async function tampered(
  rig: Rig,
  use: (space: IoAddressSpace, memory: DmaMemory, container: Fd) => Promise<void>,
): Promise<void> {
  const { machine, containers } = watched(rig.machine);
  await using space = await IoAddressSpace.open(machine, [rig.first, rig.second], { strategy: rig.strategy });
  using memory = DmaMemory.allocate(machine, 4 * PAGE);
  const container = containers.at(-1);
  assert.ok(container !== undefined);
  await use(space, memory, container);
}

export const auditing: readonly Scenario[] = [
  scenario("the audit finds a mapping that an IOMMU lost, and so does its unmap", (rig) =>
    tampered(rig, async (space, memory, container) => {
      const lost = await space.map(memory, { size: PAGE });
      await space.map(memory, { offset: PAGE, size: PAGE });
      consistent(space, 2);
      const { iova, size } = lost;
      rig.machine.syscalls.ioctl(container, VFIO_IOMMU_UNMAP_DMA, dmaUnmap.encode({ iova, size }));
      const { consistent: agree, differences } = space.audit();
      assert.equal(agree, false);
      assert.deepEqual(differences.map(({ problem }) => problem).sort(), ["count", "missing"]);
      assert.equal(differences.find(({ problem }) => problem === "missing")?.range?.start, iova);
      const error = await refused("ERR_IOSPAN_UNMAP_SHORT", () => lost.unmap());
      assert.ok(error.iommu !== undefined && error.iommu.length > 0);
      assert.equal(lost.mapped, false);
      consistent(space, 1);
      for (const mapping of space.mappings) await mapping.unmap();
    }),
  ),

  scenario("the audit finds a mapping that nobody asked for", (rig) =>
    tampered(rig, async (space, memory, container) => {
      await space.map(memory, { size: PAGE, iova: 0x300000 });
      const stray = dmaMap.encode({ flags: 3, vaddr: memory.address, iova: 0x500000, size: PAGE });
      rig.machine.syscalls.ioctl(container, VFIO_IOMMU_MAP_DMA, stray);
      const { differences } = space.audit();
      assert.deepEqual(differences.map(({ problem }) => problem).sort(), ["count", "stray"]);
      const range = differences.find(({ problem }) => problem === "stray")?.range;
      assert.ok(range !== undefined && range.start <= 0x500000n && range.end >= 0x500fffn);
      rig.machine.syscalls.ioctl(container, VFIO_IOMMU_UNMAP_DMA, dmaUnmap.encode({ iova: 0x500000, size: PAGE }));
      consistent(space, 1);
      for (const mapping of space.mappings) await mapping.unmap();
    }),
  ),

  scenario("the audit changes nothing, however often it asks", (rig) =>
    tampered(rig, async (space, memory) => {
      await space.map(memory);
      const calls: string[] = [];
      for (let round = 0; round < 5; round += 1) calls.push(JSON.stringify(space.audit()));
      assert.equal(new Set(calls).size, 1);
      for (const mapping of space.mappings) await mapping.unmap();
      consistent(space, 0);
    }),
  ),
];

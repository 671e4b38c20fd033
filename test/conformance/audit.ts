import assert from "node:assert/strict";
import { type DmaMemory, type Fd, IoAddressSpace, type Machine, type Syscalls } from "iospan";
import { IOMMU_IOAS_MAP, IOMMU_IOAS_UNMAP, ioasAlloc, ioasMap, ioasUnmap } from "../../src/abi/iommufd-ioas.js";
import { dmaMap, dmaUnmap, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA } from "../../src/abi/vfio-container.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import { consistent, refused } from "./expect.js";
import { granuleOf, granules } from "./granule.js";
import { mechanismOf } from "./mechanism.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

/** Changes what is mapped behind the space's back. */
interface Tamper {
  unmap(range: { readonly iova: bigint; readonly size: number }): void;
  map(range: { readonly iova: bigint; readonly size: number; readonly address: bigint }): void;
}

/** A machine that tells where mappings are made. */
function watched(machine: Machine): { machine: Machine; tamper(): Tamper } {
  const tampers: Tamper[] = [];
  const inner = machine.syscalls;
  const syscalls: Syscalls = intercepted(inner, (call, proceed) => {
    const result = proceed();
    if (call.ioctl?.name === "VFIO_SET_IOMMU" && call.fd !== undefined) tampers.push(ofContainer(inner, call.fd));
    if (call.ioctl?.name === "IOMMU_IOAS_ALLOC" && call.fd !== undefined && call.argument instanceof Uint8Array)
      tampers.push(ofIoas(inner, call.fd, ioasAlloc.decode(call.argument).out_ioas_id));
    return result;
  });
  const tamper = () => {
    const last = tampers.at(-1);
    assert.ok(last !== undefined);
    return last;
  };
  return { machine: { syscalls }, tamper };
}

function ofContainer(syscalls: Syscalls, fd: Fd): Tamper {
  return {
    unmap: ({ iova, size }) => syscalls.ioctl(fd, VFIO_IOMMU_UNMAP_DMA, dmaUnmap.encode({ iova, size })),
    map: ({ iova, size, address }) =>
      syscalls.ioctl(fd, VFIO_IOMMU_MAP_DMA, dmaMap.encode({ flags: 3, vaddr: address, iova, size })),
  };
}

function ofIoas(syscalls: Syscalls, fd: Fd, ioas_id: number): Tamper {
  return {
    unmap: ({ iova, size }) => syscalls.ioctl(fd, IOMMU_IOAS_UNMAP, ioasUnmap.encode({ ioas_id, iova, length: size })),
    map: ({ iova, size, address }) =>
      syscalls.ioctl(fd, IOMMU_IOAS_MAP, ioasMap.encode({ ioas_id, flags: 7, user_va: address, iova, length: size })),
  };
}

async function tampered(
  rig: Rig,
  use: (space: IoAddressSpace, memory: DmaMemory, tamper: Tamper) => Promise<void>,
): Promise<void> {
  const { machine, tamper } = watched(rig.machine);
  await using space = await IoAddressSpace.open(machine, [rig.first, rig.second], { strategy: rig.strategy });
  using memory = granules({ ...rig, machine }, 4);
  await use(space, memory, tamper());
}

/** A container counts its mappings, an iommufd does not, but can be asked whether a mapping is whole. */
const counts = ({ strategy, compatContainer = false }: Rig): boolean =>
  mechanismOf(strategy) === "containers" && !compatContainer;

const counted = (rig: Rig): string[] => (counts(rig) ? ["count"] : []);

export const auditing: readonly Scenario[] = [
  scenario("the audit finds a mapping that an IOMMU lost, and so does its unmap", (rig) =>
    tampered(rig, async (space, memory, tamper) => {
      const lost = await space.map(memory, { size: granuleOf(rig) });
      await space.map(memory, { offset: granuleOf(rig), size: granuleOf(rig) });
      consistent(space, 2);
      const { iova } = lost;
      tamper.unmap(lost);
      const { consistent: agree, differences } = space.audit();
      assert.equal(agree, false);
      assert.deepEqual(differences.map(({ problem }) => problem).sort(), [...counted(rig), "missing"]);
      assert.equal(differences.find(({ problem }) => problem === "missing")?.range?.start, iova);
      const error = await refused("ERR_IOSPAN_UNMAP_SHORT", () => lost.unmap());
      assert.ok(error.iommu !== undefined && error.iommu.length > 0);
      assert.equal(lost.mapped, false);
      consistent(space, 1);
      for (const mapping of space.mappings) await mapping.unmap();
    }),
  ),

  scenario("the audit finds a hole in a mapping whose ends are there", (rig) =>
    tampered(rig, async (space, memory, tamper) => {
      const size = granuleOf(rig);
      const { iova } = await space.map(memory, { size: 4 * size });
      tamper.unmap({ iova, size: 4 * size });
      // From memory that is in no place of the mapping's own.
      tamper.map({ iova, size, address: memory.address + BigInt(size) });
      tamper.map({ iova: iova + BigInt(3 * size), size, address: memory.address });
      const { differences } = space.audit();
      assert.ok(differences.length > 0);
      if (!counts(rig))
        assert.deepEqual(
          differences.map(({ problem }) => problem),
          ["partial"],
        );
      tamper.unmap({ iova, size });
      tamper.unmap({ iova: iova + BigInt(3 * size), size });
      tamper.map({ iova, size: 4 * size, address: memory.address });
      consistent(space, 1);
      for (const mapping of space.mappings) await mapping.unmap();
    }),
  ),

  scenario("the audit finds a mapping that nobody asked for", (rig) =>
    tampered(rig, async (space, memory, tamper) => {
      await space.map(memory, { size: granuleOf(rig), iova: 0x300000 });
      const stray = { iova: 0x500000n, size: granuleOf(rig) };
      tamper.map({ ...stray, address: memory.address });
      const { differences } = space.audit();
      assert.deepEqual(differences.map(({ problem }) => problem).sort(), [...counted(rig), "stray"]);
      const range = differences.find(({ problem }) => problem === "stray")?.range;
      assert.ok(range !== undefined && range.start <= 0x500000n && range.end >= 0x500fffn);
      tamper.unmap(stray);
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

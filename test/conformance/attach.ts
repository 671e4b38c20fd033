import assert from "node:assert/strict";
import { type DmaMemory, type Fault, faulty, IoAddressSpace, type Machine } from "iospan";
import { consistent, refused } from "./expect.js";
import { granuleOf, granules } from "./granule.js";
import { isMirrored, type Mechanism, mechanismOf } from "./mechanism.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

/** Errno values that the refusals below are made with (asm-generic/errno-base.h). */
const EPERM = 1;
const EINVAL = 22;

const open = (rig: Rig, machine: Machine, names: readonly string[]) =>
  IoAddressSpace.open(machine, names, { strategy: rig.strategy });

/** Where mappings begin that a device which is attached later is to have, too: its IOMMU's pages may be larger. */
const FIRST_IOVA = 0x40_0000;

/** 32 mappings of 32 granules. */
async function mapEach(space: IoAddressSpace, memory: DmaMemory, rig: Rig): Promise<void> {
  const size = granuleOf(rig);
  for (let offset = 0; offset < 32 * size; offset += size) {
    await space.map(memory, { offset, size, iova: FIRST_IOVA + offset });
  }
}

const ioctlNamed =
  (name: string): NonNullable<Fault["match"]> =>
  (call) =>
    call.ioctl?.name === name;

/** What a hot attach may be refused with, and where. */
const refusals: Readonly<Record<Mechanism, readonly Fault[]>> = {
  containers: [
    { match: ioctlNamed("VFIO_GROUP_GET_STATUS"), nth: 1, errno: EINVAL },
    { match: ioctlNamed("VFIO_GROUP_SET_CONTAINER"), nth: 1, errno: EPERM },
    { match: ioctlNamed("VFIO_IOMMU_GET_INFO"), nth: 1, errno: EINVAL },
    { match: ioctlNamed("VFIO_GROUP_GET_DEVICE_FD"), nth: 1, errno: EINVAL },
    { match: (call) => call.name === "openat" && call.path !== "/dev/vfio/vfio", nth: 1, errno: EPERM },
    { match: (call) => call.name === "pwrite64", nth: 1, errno: EPERM },
  ],
  iommufd: [
    { match: (call) => call.name === "openat", nth: 1, errno: EPERM },
    { match: ioctlNamed("VFIO_DEVICE_BIND_IOMMUFD"), nth: 1, errno: EPERM },
    { match: ioctlNamed("VFIO_DEVICE_ATTACH_IOMMUFD_PT"), nth: 1, errno: EINVAL },
    { match: ioctlNamed("IOMMU_IOAS_IOVA_RANGES"), nth: 1, errno: EINVAL },
    { match: ioctlNamed("VFIO_IOMMU_GET_INFO"), nth: 1, errno: EINVAL },
    { match: ioctlNamed("VFIO_DEVICE_GET_INFO"), nth: 1, errno: EINVAL },
    { match: (call) => call.name === "pwrite64", nth: 1, errno: EPERM },
  ],
};

const mirroredRefusals: readonly Fault[] = [
  { match: ioctlNamed("VFIO_SET_IOMMU"), nth: 1, errno: EPERM },
  { match: ioctlNamed("VFIO_IOMMU_MAP_DMA"), nth: 1, errno: EINVAL },
  { match: ioctlNamed("VFIO_IOMMU_MAP_DMA"), nth: 17, errno: EINVAL },
];

export const attach: readonly Scenario[] = [
  scenario("replays every mapping to a device attached later", async (rig) => {
    await using space = await open(rig, rig.machine, [rig.first]);
    using memory = granules(rig, 32);
    await mapEach(space, memory, rig);
    await space.attach(rig.second);
    consistent(space, 32);
    await space.attach(rig.neighbour);
    consistent(space, 32);
    await space.detach(rig.second);
    consistent(space, 32);
    for (const mapping of space.mappings) await mapping.unmap();
    consistent(space, 0);
  }),

  scenario("attaches wholly or not at all, wherever the kernel refuses", async (rig) => {
    const syscalls = faulty(rig.machine.syscalls);
    using memory = granules(rig, 32);
    await using space = await open(rig, { syscalls }, [rig.first]);
    await mapEach(space, memory, rig);
    const before = rig.openFiles();
    const ranges = space.iovaRanges.ranges;
    const faults = refusals[mechanismOf(rig.strategy)];
    for (const fault of isMirrored(rig) ? [...faults, ...mirroredRefusals] : faults) {
      syscalls.fault = fault;
      await assert.rejects(space.attach(rig.second), /injected/);
      assert.ok(syscalls.failed !== undefined);
      syscalls.fault = undefined;
      assert.deepEqual(space.interfaces, [rig.first]);
      assert.deepEqual(space.iovaRanges.ranges, ranges);
      assert.deepEqual(rig.openFiles(), before);
      consistent(space, 32);
    }
    await space.attach(rig.second);
    consistent(space, 32);
  }),

  scenario("refuses to attach what it cannot have, and stays as it was", async (rig) => {
    await using space = await open(rig, rig.machine, [rig.first]);
    using _buffer = space.allocate(granuleOf(rig));
    await using other = await open(rig, rig.machine, [rig.second]);
    await refused("ERR_IOSPAN_GROUP_BUSY", () => space.attach(rig.second));
    await refused("ERR_IOSPAN_WRONG_DRIVER", () => space.attach(rig.stranger));
    await refused("ERR_IOSPAN_NO_DEVICE", () => space.attach("0000:ff:1f.7"));
    await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => space.attach(rig.first));
    await refused("ERR_IOSPAN_NO_DEVICE", () => space.detach(rig.second));
    await refused("ERR_IOSPAN_NO_DEVICE", () => space.interface(rig.second));
    consistent(space, 1);
    consistent(other, 0);
  }),

  scenario("makes synchronous calls wait their turn by refusing them", async (rig) => {
    await using space = await open(rig, rig.machine, [rig.first]);
    using early = granules(rig, 1);
    using late = granules(rig, 1);
    const buffer = await space.map(early, { iova: FIRST_IOVA });
    const attaching = space.attach(rig.second);
    await refused("ERR_IOSPAN_BUSY", () => space.allocate(granuleOf(rig)));
    await refused("ERR_IOSPAN_BUSY", () => buffer.unmapNow());
    await refused("ERR_IOSPAN_BUSY", () => space.audit());
    const mapped = space.map(late);
    await attaching;
    await mapped;
    consistent(space, 2);
    for (const mapping of space.mappings) await mapping.unmap();
  }),
];

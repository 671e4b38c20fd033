import assert from "node:assert/strict";
import { BoundDevice, Device, findDevice, HwPageTable, Ioas, Iommufd, iova } from "iospan";
import { EDU_BUFFER_SIZE, Edu } from "../../examples/edu/edu.js";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../../src/syscalls/mmap-flags.js";
import { refused, sameBytes } from "./expect.js";
import { granuleOf, granules } from "./granule.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

// The library's own objects of iommufd, without a space around them.

const AT = 0x40_0000n;
const FILE_PAGES = 4;
const PATTERN = Uint8Array.from({ length: EDU_BUFFER_SIZE }, (_, index) => (index * 13 + 5) & 0xff);

/** An address space with devices of the rig in it. */
interface Bench {
  readonly iommufd: Iommufd;
  readonly ioas: Ioas;
  readonly devices: readonly BoundDevice[];
}

async function onBench(rig: Rig, names: readonly string[], use: (bench: Bench) => Promise<void>): Promise<void> {
  const before = rig.openFiles();
  {
    using iommufd = await Iommufd.open(rig.machine.syscalls);
    const ioas = Ioas.allocate(iommufd);
    const devices: BoundDevice[] = [];
    try {
      for (const name of names) devices.push(await bind(rig, iommufd, name));
      for (const device of devices) await device.attach(ioas);
      await use({ iommufd, ioas, devices });
    } finally {
      for (const device of devices) device.close();
      ioas.close();
    }
  }
  assert.deepEqual(rig.openFiles(), before);
}

function bind({ machine }: Rig, iommufd: Iommufd, device: string): Promise<BoundDevice> {
  const { name, bus, iommu, group, vfioDevice: node } = findDevice(machine, device);
  assert.ok(iommu !== undefined && group !== undefined && node !== undefined, `${device} is not on VFIO`);
  return BoundDevice.open(iommufd, { name, bus, iommu: iommu.name, group, node });
}

/** An engine that copies, through the device's own descriptor. */
async function withEngine({ machine }: Rig, bound: BoundDevice, use: (edu: Edu) => Promise<void>): Promise<void> {
  await using device = await Device.open(machine.syscalls, bound, bound);
  device.pciConfig?.setBusMaster(true);
  await use(new Edu(device));
}

const once: Scenario["skip"] = (rig) =>
  rig.strategy === "iommufd" ? undefined : "takes iommufd, whatever the strategy";

export const iommufdLibrary: readonly Scenario[] = [
  scenario(
    "an unmap that cuts a mapping changes nothing, also where the kernel would have unmapped others before",
    (rig) =>
      onBench(rig, [rig.first, rig.second], async ({ ioas }) => {
        using memory = granules(rig, 8);
        const granule = granuleOf(rig);
        const at = (index: number) => iova(AT + BigInt(index * granule));
        const part = (index: number, count: number) => ({
          iova: at(index),
          address: memory.address + BigInt(index * granule),
          size: count * granule,
          access: "read-write" as const,
        });
        ioas.map(part(0, 2));
        await ioas.mapAsync(part(2, 4));
        for (const [from, count] of [
          [0, 1],
          [1, 1],
          [0, 3],
          [1, 5],
          [5, 3],
        ] as const) {
          await refused("ERR_IOSPAN_UNMAP_REFUSED", () => ioas.unmap(at(from), count * granule));
          await refused("ERR_IOSPAN_UNMAP_REFUSED", () => ioas.unmapAsync(at(from), count * granule));
          assert.ok(ioas.isWhole(at(0), BigInt(6 * granule)), `from ${from}, ${count}`);
        }
        assert.equal(ioas.unmap(at(6), 2 * granule), 0);
        assert.equal(await ioas.unmapAsync(at(0), 8 * granule), 6 * granule);
        assert.ok(!ioas.isMapped(at(0), BigInt(8 * granule)));
      }),
    once,
  ),

  scenario(
    "devices behind two IOMMUs read and write the memory of a file, which is mapped without an address",
    (rig) =>
      onBench(rig, [rig.first, rig.second], async ({ ioas, devices }) => {
        const { syscalls } = rig.machine;
        const size = FILE_PAGES * granuleOf(rig);
        const fd = syscalls.memfd("iospan", 0, size);
        const address = syscalls.mmap({ length: size, prot: PROT_READ | PROT_WRITE, flags: MAP_SHARED, fd });
        const bytes = new Uint8Array(syscalls.view(address, size));
        bytes.set(PATTERN);
        ioas.mapFile({ fd, offset: 0, size: size / 2, iova: iova(AT), access: "read" });
        const half = { fd, offset: size / 2, size: size / 2, iova: iova(2n * AT), access: "read-write" as const };
        await ioas.mapFileAsync(half);
        await refused("ERR_IOSPAN_MAP_OVERLAP", () => ioas.mapFile(half));
        for (const [index, bound] of devices.entries()) {
          const target = index * EDU_BUFFER_SIZE;
          await withEngine(rig, bound, (edu) =>
            edu.copy(iova(AT), iova(2n * AT + BigInt(target)), EDU_BUFFER_SIZE, "poll"),
          );
          const seen = bytes.slice(size / 2 + target, size / 2 + target + EDU_BUFFER_SIZE);
          sameBytes(seen, PATTERN, `what ${bound.name} copied`);
        }
        assert.equal(ioas.unmap(iova(AT), size / 2), size / 2);
        syscalls.munmap(address, size);
        syscalls.close(fd);
      }),
    once,
  ),

  scenario(
    "a copy of a mapping shows the same memory in another address space",
    (rig) =>
      onBench(rig, [rig.first], async ({ iommufd, ioas, devices: [device] }) => {
        assert.ok(device !== undefined);
        using memory = granules(rig, 4);
        const granule = granuleOf(rig);
        const size = 4 * granule;
        ioas.map({ iova: iova(AT), address: memory.address, size, access: "read-write" });
        const other = Ioas.allocate(iommufd);
        other.copyFrom(ioas, { from: iova(AT), iova: iova(3n * AT), size, access: "read-write" });
        await refused("ERR_IOSPAN_MAP_OVERLAP", () =>
          other.copyFrom(ioas, { from: iova(AT), iova: iova(3n * AT), size, access: "read" }),
        );
        await device.attach(other);
        memory.bytes.set(PATTERN);
        const target = iova(3n * AT + BigInt(size - EDU_BUFFER_SIZE));
        await withEngine(rig, device, (edu) => edu.copy(iova(3n * AT), target, EDU_BUFFER_SIZE, "poll"));
        sameBytes(memory.bytes.slice(size - EDU_BUFFER_SIZE), PATTERN, "the copy's memory");
      }),
    once,
  ),

  scenario(
    "says what IOMMU is in front of a device, and refuses a page table that it cannot have",
    (rig) =>
      onBench(rig, [rig.first, rig.second], async ({ iommufd, ioas, devices }) => {
        for (const device of devices) {
          const { smmuv3, dirtyTracking } = device.hardwareInfo();
          assert.ok(smmuv3 !== undefined);
          assert.equal(smmuv3.idr.length, 6);
          assert.ok(smmuv3.idr.some((register) => register !== 0));
          if (dirtyTracking) continue;
          const options = { dirtyTracking: true };
          const error = await refused("ERR_IOSPAN_NOT_SUPPORTED", () =>
            HwPageTable.allocate(iommufd, device, ioas, options),
          );
          assert.equal(error.device, device.name);
        }
      }),
    once,
  ),
];

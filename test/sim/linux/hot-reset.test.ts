import { describe, expect, it } from "vitest";
import { bindIommufd, VFIO_DEVICE_BIND_IOMMUFD } from "../../../src/abi/vfio-cdev.js";
import {
  dependentDevice,
  dependentDeviceById,
  hotReset,
  hotResetInfo,
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
  VFIO_DEVICE_PCI_HOT_RESET,
} from "../../../src/abi/vfio-pci-reset.js";
import { O_RDWR } from "../../../src/syscalls/mmap-flags.js";
import type { Fd } from "../../../src/syscalls/syscalls.js";
import { outcome, Program } from "../program.js";
import { ONE, OTHER, PF, pciMachine } from "./pci-machine.js";

function ask(program: Program, device: Fd, room = 8, argsz = hotResetInfo.size + 8 * room) {
  const bytes = hotResetInfo.encode({ argsz }, new Uint8Array(8 * room));
  const answer = outcome(() => program.kernel.ioctl(device, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, bytes));
  const { flags, count } = hotResetInfo.decode(bytes);
  const entries = Array.from({ length: Math.min(count, room) }, (_, index) => bytes.subarray(12 + 8 * index));
  return { answer, flags, count, entries };
}

function reset(program: Program, device: Fd, fds: readonly number[], changes: { argsz?: number; flags?: number } = {}) {
  const data = new Uint8Array(Int32Array.from(fds).buffer);
  const bytes = hotReset.encode({ flags: 0, count: fds.length, ...changes }, data);
  return outcome(() => program.kernel.ioctl(device, VFIO_DEVICE_PCI_HOT_RESET, bytes));
}

/** Registers of edu's BAR 0: the liveness check keeps what was written to it. */
function liveness(program: Program, device: Fd, value?: number): number {
  const bytes = new Uint8Array(4);
  if (value !== undefined) program.kernel.pwrite(device, new Uint8Array(Uint32Array.of(value).buffer), 4n);
  program.kernel.pread(device, bytes, 4n);
  return new DataView(bytes.buffer).getUint32(0, true);
}

describe("a hot reset through groups", () => {
  it("hits what is on the bus, and says so by group", () => {
    const program = new Program(pciMachine());
    const { devices, groups } = program.open(ONE);
    const { answer, flags, entries } = ask(program, devices[0] as Fd);
    expect([answer, flags]).toEqual([0, 0]);
    const group = (name: string) => Number(program.groupNumber(name));
    expect(entries.map((entry) => dependentDevice.decode(entry))).toEqual([
      { group_id: group(ONE), segment: 0, bus: 3, devfn: 0 },
      { group_id: group(OTHER), segment: 0, bus: 3, devfn: 1 },
    ]);
    expect(groups).toHaveLength(1);
  });

  it("tells how much room it takes", () => {
    const program = new Program(pciMachine());
    const [device] = program.open(ONE).devices as [Fd];
    expect(ask(program, device, 1)).toMatchObject({ answer: "ENOSPC", flags: 0, count: 2 });
    expect(ask(program, device, 8, 11).answer).toBe("EINVAL");
    expect(ask(program, device, 8, 12)).toMatchObject({ answer: "ENOSPC", count: 2 });
  });

  it("takes all groups, and no more than there are devices", () => {
    const program = new Program(pciMachine());
    const { devices, groups, container } = program.open(ONE, OTHER);
    const [one, other] = devices as [Fd, Fd];
    const before = liveness(program, one, 0x1234);
    const neighbour = liveness(program, other, 0x4321);
    expect(reset(program, one, [groups[0] ?? -1])).toBe("EINVAL");
    expect(reset(program, one, [])).toBe("EINVAL");
    expect(reset(program, one, [...groups, groups[0] ?? -1])).toBe("EINVAL");
    expect(reset(program, one, [groups[0] ?? -1, container])).toBe("EINVAL");
    expect(reset(program, one, [groups[0] ?? -1, 999])).toBe("EBADF");
    expect(reset(program, one, groups, { flags: 1 })).toBe("EINVAL");
    expect(reset(program, one, groups, { argsz: 11 })).toBe("EINVAL");
    expect([liveness(program, one), liveness(program, other)]).toEqual([before, neighbour]);
    expect(reset(program, one, groups)).toBe(0);
    expect(liveness(program, one)).not.toBe(before);
    expect(liveness(program, other)).not.toBe(neighbour);
  });

  it("is refused where a function on the bus is not on vfio-pci", () => {
    const program = new Program(pciMachine({ [OTHER]: { driver: "pci-stub" } }));
    const { devices, groups } = program.open(ONE);
    expect(ask(program, devices[0] as Fd).count).toBe(2);
    expect(reset(program, devices[0] as Fd, groups)).toBe("EINVAL");
  });

  it("is none on a root bus, and has to do with functions in a group only", () => {
    const rooted = new Program(pciMachine({ [ONE]: { behind: [] } }));
    const { devices, groups } = rooted.open(ONE);
    expect(ask(rooted, devices[0] as Fd).answer).toBe("ENODEV");
    expect(reset(rooted, devices[0] as Fd, groups)).toBe("ENODEV");
    const mixed = new Program(pciMachine({ [OTHER]: { driver: "none", iommu: undefined as never } }));
    expect(ask(mixed, mixed.open(ONE).devices[0] as Fd).answer).toBe("EPERM");
  });

  it("keeps virtual functions from being reset with their physical function", () => {
    const program = new Program(pciMachine());
    const { devices, groups } = program.open(PF);
    expect(ask(program, devices[0] as Fd).count).toBe(2);
    expect(reset(program, devices[0] as Fd, groups)).toBe("EINVAL");
  });
});

describe("a hot reset through an iommufd", () => {
  function bound(program: Program, iommufd: Fd, name: string) {
    const [node] = program.kernel.readDirectory(`/sys/bus/pci/devices/${name}/vfio-dev`);
    const device = program.kernel.open(`/dev/vfio/devices/${node}`, O_RDWR);
    const bytes = bindIommufd.encode({ argsz: 16, iommufd });
    program.kernel.ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, bytes);
    return { device, id: bindIommufd.decode(bytes).out_devid };
  }

  const ids = (answer: ReturnType<typeof ask>) =>
    answer.entries.map((entry) => dependentDeviceById.decode(entry).devid);

  it("takes a zero-length array from who has bound all of them", () => {
    const program = new Program(pciMachine());
    const iommufd = program.kernel.open("/dev/iommu", O_RDWR);
    const one = bound(program, iommufd, ONE);
    const alone = ask(program, one.device);
    expect(alone).toMatchObject({ answer: 0, flags: 1 });
    expect(ids(alone)).toEqual([one.id, -1]);
    expect(reset(program, one.device, [])).toBe("EINVAL");
    const other = bound(program, iommufd, OTHER);
    const both = ask(program, one.device);
    expect(both.flags).toBe(3);
    expect(ids(both)).toEqual([one.id, other.id]);
    expect(reset(program, one.device, [iommufd])).toBe("EINVAL");
    expect(reset(program, one.device, [])).toBe(0);
  });

  it("counts a device that is not bound to whoever has its group", () => {
    const program = new Program(pciMachine({ [ONE]: { group: 50 }, [OTHER]: { group: 50 } }));
    const one = bound(program, program.kernel.open("/dev/iommu", O_RDWR), ONE);
    const answer = ask(program, one.device);
    expect(answer.flags).toBe(3);
    expect(ids(answer)).toEqual([one.id, 0]);
    expect(reset(program, one.device, [])).toBe(0);
  });
});

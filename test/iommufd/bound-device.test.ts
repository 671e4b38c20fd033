import { describe, expect, it } from "vitest";
import { type ErrnoName, errno } from "../../src/abi/errno.js";
import { hwInfo } from "../../src/abi/iommufd-hw-info.js";
import { BoundDevice } from "../../src/iommufd/bound-device.js";
import { HwPageTable } from "../../src/iommufd/hw-page-table.js";
import { Ioas } from "../../src/iommufd/ioas.js";
import { Iommufd } from "../../src/iommufd/iommufd.js";
import { iova } from "../../src/iova.js";
import { findDevice } from "../../src/machine/devices.js";
import { registers } from "../../src/sim/hw/smmu/registers.js";
import { machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { faulty } from "../../src/syscalls/faulty.js";
import { O_RDWR } from "../../src/syscalls/mmap-flags.js";
import { Device } from "../../src/vfio/device.js";
import { errorFrom, errorOf } from "../support/errors.js";
import { FIRST, IommufdRig, identityOf, kernelWithIommufd, NEIGHBOUR, SECOND, SMMU0, SMMU1, withHttu } from "./rig.js";

describe("binding a device", () => {
  it("takes more than what sysfs tells of it as it stands", async () => {
    const rig = await IommufdRig.open();
    const device = findDevice({ syscalls: rig.kernel }, FIRST);
    const open = (identity: unknown) =>
      errorFrom(Reflect.apply(BoundDevice.open, BoundDevice, [rig.iommufd, identity]));
    const error = await open(device);
    expect(error).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT", device: FIRST });
    expect(error.message).toContain("none for iommu, node");
    expect(error.hint).toContain("node: d.vfioDevice");
    expect((await open(undefined)).message).toContain("none for name, iommu, node");
    expect(rig.kernel.openFds.map(({ path }) => path)).toEqual(["/dev/iommu"]);
  });

  it("opens its node, and resets and blocks it", async () => {
    const rig = await IommufdRig.open();
    const device = await rig.device(FIRST);
    expect(device).toMatchObject({ name: FIRST, bus: "pci", iommu: SMMU0, id: 2 });
    expect(rig.kernel.iommufds[0]?.devices).toEqual([{ id: 2, name: FIRST, hwpt: undefined }]);
    device.close();
    device.close();
    device[Symbol.dispose]();
    expect(rig.kernel.openFds.map(({ path }) => path)).toEqual(["/dev/iommu"]);
  });

  it.each([
    ["ENOENT", "ERR_IOSPAN_NO_IOMMUFD", /CONFIG_VFIO_DEVICE_CDEV/],
    ["ENODEV", "ERR_IOSPAN_WRONG_DRIVER", /vfio-pci/],
    ["EACCES", "ERR_IOSPAN_NO_PERMISSION", /chown/],
    ["EPERM", "ERR_IOSPAN_NO_PERMISSION", /cgroup/],
    ["EMFILE", "ERR_IOSPAN_SYSCALL", /ulimit/],
    ["EIO", "ERR_IOSPAN_SYSCALL", /dmesg/],
  ] as const)("explains %s of its node", async (answer, code, hint) => {
    const rig = await IommufdRig.open();
    rig.refuse("/dev/vfio/devices/vfio1", answer);
    expect(await errorFrom(rig.device(FIRST))).toMatchObject({
      ...{ code, errno: errno[answer], device: FIRST, iommu: SMMU0, syscall: "openat" },
      hint: expect.stringMatching(hint),
    });
  });

  it.each([
    ["EPERM", "ERR_IOSPAN_UNSAFE_INTERRUPTS", /iommufd\/parameters\/allow_unsafe_interrupts/],
    ["ENOTTY", "ERR_IOSPAN_NO_IOMMUFD", /CONFIG_VFIO_DEVICE_CDEV/],
    ["ENOMEM", "ERR_IOSPAN_ATTACH_REFUSED", /memory/],
    ["EIO", "ERR_IOSPAN_ATTACH_REFUSED", /dmesg/],
  ] as const)("explains %s, and leaves nothing open", async (answer, code, hint) => {
    const rig = await IommufdRig.open();
    rig.refuse("VFIO_DEVICE_BIND_IOMMUFD", answer);
    expect(await errorFrom(rig.device(FIRST))).toMatchObject({
      ...{ code, errno: errno[answer], device: FIRST, iommu: SMMU0, syscall: "VFIO_DEVICE_BIND_IOMMUFD" },
      hint: expect.stringMatching(hint),
    });
    expect(rig.kernel.openFds.map(({ path }) => path)).toEqual(["/dev/iommu"]);
  });

  it("says who has the device, or its group", async () => {
    const rig = await IommufdRig.open();
    const first = await rig.device(FIRST);
    const busy = {
      code: "ERR_IOSPAN_GROUP_BUSY",
      device: FIRST,
      message: expect.stringContaining("this very process"),
    };
    expect(await errorFrom(rig.device(FIRST))).toMatchObject({ ...busy, errnoName: "EINVAL" });
    expect((await errorFrom(rig.device(FIRST))).message).toContain("/dev/vfio/devices/vfio");
    first.close();
    const group = rig.kernel.open(`/dev/vfio/${identityOf(rig.kernel, FIRST).group}`, O_RDWR);
    expect(await errorFrom(rig.device(FIRST))).toMatchObject({ ...busy, errnoName: "EBUSY" });
    rig.kernel.close(group);
    (await rig.device(FIRST)).close();
  });

  it("tells firmware's mappings from somebody who has the device", async () => {
    const { devices } = machineOneDescription();
    const reserved = [{ start: 0x10000000, end: 0x10000fff, type: "direct" as const }];
    const rig = await IommufdRig.open({
      devices: devices.map((device) => (device.name === FIRST ? { ...device, reserved } : device)),
    });
    const error = await errorFrom(rig.device(FIRST));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_ATTACH_REFUSED", errnoName: "EINVAL" });
    expect(error.message).toContain("1:1");
  });

  it("still explains where sysfs does not tell", async () => {
    const kernel = kernelWithIommufd();
    const blind = faulty(kernel);
    const iommufd = await Iommufd.open(blind);
    const busy = faulty(blind, {
      match: (call) => call.ioctl?.name === "VFIO_DEVICE_BIND_IOMMUFD",
      nth: 1,
      errno: errno.EINVAL,
    });
    blind.fault = { match: (call) => call.path?.endsWith("reserved_regions") ?? false, nth: 1, errno: errno.EIO };
    const through = Object.create(iommufd, { syscalls: { value: busy } }) as Iommufd;
    Object.defineProperty(through, "fd", { get: () => iommufd.fd });
    expect((await errorFrom(BoundDevice.open(through, identityOf(kernel, FIRST)))).code).toBe("ERR_IOSPAN_GROUP_BUSY");
  });
});

describe("attaching a device", () => {
  it("to an address space has the kernel find a page table", async () => {
    const rig = await IommufdRig.open();
    const [one, two, three] = [await rig.device(FIRST), await rig.device(SECOND), await rig.device(NEIGHBOUR)];
    const tables = [await one.attach(rig.ioas), await two.attach(rig.ioas), await three.attach(rig.ioas)];
    expect(tables[0]).not.toBe(tables[1]);
    expect(tables[0]).toBe(tables[2]);
    expect(rig.ioas.devices).toBe([FIRST, SECOND, NEIGHBOUR].join(", "));
    one.detach();
    expect(rig.ioas.devices).toBe([SECOND, NEIGHBOUR].join(", "));
    expect(await one.attach(rig.ioas)).toBe(tables[0]);
  });

  it("ends with its closing, and leaves nothing behind", async () => {
    const rig = await IommufdRig.open();
    const device = await rig.device(FIRST);
    const { kernel } = rig;
    const call = kernel.ioctlAsync.bind(kernel);
    kernel.ioctlAsync = async (...request) => {
      const result = await call(...request);
      device.close();
      return result;
    };
    expect((await errorFrom(device.attach(rig.ioas))).code).toBe("ERR_IOSPAN_CLOSED");
    expect(rig.ioas.devices).toBe("");
  });

  it("is refused as closed when it is closed before the kernel gets to it", async () => {
    const rig = await IommufdRig.open();
    const device = await rig.device(FIRST);
    const attaching = errorFrom(device.attach(rig.ioas));
    device.close();
    expect((await attaching).code).toBe("ERR_IOSPAN_CLOSED");
  });

  it("moves it from one address space to another", async () => {
    const rig = await IommufdRig.open();
    const device = await rig.attached(FIRST);
    const other = Ioas.allocate(rig.iommufd);
    await device.attach(other);
    expect([rig.ioas.devices, other.devices]).toEqual(["", FIRST]);
  });

  it("to another SMMU's page table is refused, and says why", async () => {
    const rig = await IommufdRig.open();
    const [one, two, three] = [await rig.device(FIRST), await rig.device(SECOND), await rig.device(NEIGHBOUR)];
    const table = await HwPageTable.allocate(rig.iommufd, one, rig.ioas);
    expect(await one.attach(table)).toBe(table.id);
    const error = await errorFrom(two.attach(table));
    expect(error).toMatchObject({
      code: "ERR_IOSPAN_ATTACH_REFUSED",
      syscall: "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
      errnoName: "EINVAL",
      device: SECOND,
      iommu: SMMU1,
    });
    expect(error.message).toContain(SMMU0);
    expect(error.message).toContain(FIRST);
    expect(await three.attach(table)).toBe(table.id);
    expect(rig.ioas.devices).toBe(`${FIRST}, ${NEIGHBOUR}`);
  });

  it.each([
    ["EINVAL", /smallest pages/],
    ["EADDRINUSE", /reserved_regions/],
    ["EFAULT", /unmapped from the process/],
    ["ENOMEM", /memory/],
    ["EIO", /dmesg/],
  ] as const satisfies readonly [ErrnoName, RegExp][])("explains %s", async (answer, hint) => {
    const rig = await IommufdRig.open();
    const device = await rig.device(FIRST);
    rig.refuse("VFIO_DEVICE_ATTACH_IOMMUFD_PT", answer);
    expect(await errorFrom(device.attach(rig.ioas))).toMatchObject({
      ...{ code: "ERR_IOSPAN_ATTACH_REFUSED", errno: errno[answer], device: FIRST, iommu: SMMU0 },
      hint: expect.stringMatching(hint),
    });
    expect(rig.ioas.devices).toBe("");
  });

  it("behind the same SMMU is refused for other reasons", async () => {
    const rig = await IommufdRig.open();
    const [one, three] = [await rig.device(FIRST), await rig.device(NEIGHBOUR)];
    const table = await HwPageTable.allocate(rig.iommufd, one, rig.ioas);
    rig.refuse("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "EINVAL");
    expect((await errorFrom(three.attach(table))).hint).toMatch(/group is attached elsewhere/);
  });

  it("fails to be undone aloud", async () => {
    const rig = await IommufdRig.open();
    const device = await rig.attached(FIRST);
    rig.refuse("VFIO_DEVICE_DETACH_IOMMUFD_PT", "EIO");
    expect(errorOf(() => device.detach())).toMatchObject({ errnoName: "EIO", device: FIRST, iommu: SMMU0 });
    rig.refuse("close", "EIO");
    expect(errorOf(() => device.close())).toMatchObject({ errnoName: "EIO", device: FIRST, iommu: SMMU0 });
    expect(rig.ioas.devices).toBe("");
  });
});

describe("what the kernel says of a device's IOMMU", () => {
  it("is its ID registers, and what page tables can do", async () => {
    const rig = await IommufdRig.open();
    const info = (await rig.device(FIRST)).hardwareInfo();
    expect(info).toMatchObject({ type: 2, dirtyTracking: false, atsExcluded: true, pasidBits: 0 });
    expect(info).toMatchObject({ pasidExecute: false, pasidPrivileged: false });
    expect(info.data).toHaveLength(40);
    const { idr, ...others } = info.smmuv3!;
    expect(others).toEqual({ iidr: 0, aidr: 2, repeatsInvalidations: false });
    expect(registers.IDR0.decode(idr[0]!)).toMatchObject({ S1P: 1, HTTU: 0 });
    expect(idr).toHaveLength(6);
    const httu = await IommufdRig.open(withHttu());
    expect((await httu.device(FIRST)).hardwareInfo().dirtyTracking).toBe(true);
  });

  it("is nothing where the driver does not tell", async () => {
    const rig = await IommufdRig.open({ release: "6.12.0" });
    expect((await rig.device(FIRST)).hardwareInfo()).toMatchObject({
      type: 0,
      data: new Uint8Array(),
      smmuv3: undefined,
    });
  });

  it("is not believed where it is cut short", async () => {
    const rig = await IommufdRig.open();
    const device = await rig.device(FIRST);
    const { kernel } = rig;
    const ioctl = kernel.ioctl.bind(kernel);
    kernel.ioctl = (fd, call, argument) => {
      const result = ioctl(fd, call, argument);
      if (call.name === "IOMMU_GET_HW_INFO") hwInfo.patch(argument as Uint8Array, 0, { data_len: 12 });
      return result;
    };
    expect(errorOf(() => device.hardwareInfo()).code).toBe("ERR_IOSPAN_MALFORMED_ANSWER");
  });

  it.each([
    ["IOMMU_GET_HW_INFO", "EOPNOTSUPP", "ERR_IOSPAN_NOT_SUPPORTED"],
    ["IOMMU_GET_HW_INFO", "ENOTTY", "ERR_IOSPAN_NO_IOMMUFD"],
    ["IOMMU_GET_HW_INFO", "EIO", "ERR_IOSPAN_SYSCALL"],
    ["mmap", "ENOMEM", "ERR_IOSPAN_SYSCALL"],
    ["munmap", "ENOMEM", undefined],
  ] as const)("is told or explained, and no memory kept, when %s says %s", async (call, answer, code) => {
    const rig = await IommufdRig.open();
    const device = await rig.device(FIRST);
    const before = rig.kernel.addressSpace;
    rig.refuse(call, answer);
    const facts = { errno: errno[answer], device: FIRST, iommu: SMMU0, hint: expect.stringMatching(/./) };
    if (code === undefined) expect(device.hardwareInfo().type).toBe(2);
    else expect(errorOf(() => device.hardwareInfo())).toMatchObject({ code, ...facts });
    if (call === "IOMMU_GET_HW_INFO") expect(rig.kernel.addressSpace).toEqual(before);
  });

  it("is not to be had when the iommufd is closed", async () => {
    const rig = await IommufdRig.open();
    const device = await rig.device(FIRST);
    rig.iommufd.close();
    expect(errorOf(() => device.hardwareInfo()).code).toBe("ERR_IOSPAN_CLOSED");
  });
});

describe("a device of its own node", () => {
  it("has registers, interrupts and reset like any other", async () => {
    const rig = await IommufdRig.open();
    const bound = await rig.attached(FIRST);
    const device = await Device.open(rig.syscalls, bound, bound);
    expect(device.region("bar0").read32(0)).toBe(0x0100_00ed);
    expect(device.pciConfig?.vendorId).toBe(0x1234);
    await device.reset();
    const error = await errorFrom(bound.attach(rig.ioas));
    expect(error.code).toBe("ERR_IOSPAN_CLOSED");
    await device.close();
    bound.close();
    expect(rig.kernel.iommufds[0]?.devices).toEqual([]);
    expect(rig.ioas.devices).toBe("");
  });

  it("stays attached, and is known to be, until whom it was handed to closes it", async () => {
    const rig = await IommufdRig.open();
    const bound = await rig.attached(FIRST);
    const device = await Device.open(rig.syscalls, bound, bound);
    bound.close();
    expect(rig.kernel.iommufds[0]?.devices).toHaveLength(1);
    expect(rig.ioas.devices).toBe(FIRST);
    await device.close();
    expect(rig.kernel.iommufds[0]?.devices).toEqual([]);
    expect(rig.ioas.devices).toBe("");
  });

  it("is attached to nothing when it does not tell what it has", async () => {
    const rig = await IommufdRig.open();
    const bound = await rig.attached(FIRST);
    rig.refuse("VFIO_DEVICE_GET_INFO", "EIO");
    await errorFrom(Device.open(rig.syscalls, bound, bound));
    expect(rig.ioas.devices).toBe("");
  });

  it("sees memory as it is mapped, and no more after", async () => {
    const rig = await IommufdRig.open();
    const bound = await rig.attached(FIRST);
    const device = await Device.open(rig.syscalls, bound, bound);
    device.pciConfig?.setBusMaster(true);
    const address = rig.kernel.mmap({ length: 4096, prot: 3, flags: 0x22 });
    new Uint8Array(rig.kernel.view(address, 4096)).fill(0x5a);
    rig.ioas.map({ iova: iova(0x40000), address, size: 4096, access: "read-write" });
    const bar = device.region("bar0");
    bar.write64(0x80, 0x40000n);
    bar.write64(0x88, 0x40000n);
    bar.write64(0x90, 64n);
    bar.write32(0x98, 1);
    while ((bar.read32(0x98) & 1) !== 0) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(rig.kernel.log.join("\n")).not.toContain("F_TRANSLATION");
    rig.ioas.unmap(iova(0x40000), 4096);
    bar.write32(0x98, 1);
    while ((bar.read32(0x98) & 1) !== 0) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(rig.kernel.log.join("\n")).toContain("F_TRANSLATION");
    await device.close();
  });
});

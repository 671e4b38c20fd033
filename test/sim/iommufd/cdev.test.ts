import { describe, expect, it } from "vitest";
import {
  attachIommufdPt,
  bindIommufd,
  detachIommufdPt,
  VFIO_DEVICE_ATTACH_IOMMUFD_PT,
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_DETACH_IOMMUFD_PT,
} from "../../../src/abi/vfio-cdev.js";
import { VFIO_DEVICE_GET_INFO } from "../../../src/abi/vfio-device.js";
import { edu } from "../../../src/sim/hw/edu.js";
import type { PlatformDescription } from "../../../src/sim/linux/description.js";
import { machineOneDescription } from "../../../src/sim/linux/machine-one.js";
import { O_RDWR } from "../../../src/syscalls/mmap-flags.js";
import type { Fd } from "../../../src/syscalls/syscalls.js";
import { outcome, PAGE } from "../program.js";
import { A, B, devicesWith, type IommufdProgram, machine } from "./iommufd-program.js";

const bind = (program: IommufdProgram, cdev: Fd, bytes: Uint8Array) =>
  outcome(() => program.kernel.ioctl(cdev, VFIO_DEVICE_BIND_IOMMUFD, bytes));

describe("a device's own node", () => {
  it("answers EINVAL to everything until it is bound", () => {
    const program = machine();
    const cdev = program.cdev(A);
    const { kernel } = program;
    const calls = [
      () => kernel.ioctl(cdev, VFIO_DEVICE_GET_INFO, new Uint8Array(20)),
      () => kernel.ioctl(cdev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, attachIommufdPt.encode({ argsz: 12 })),
      () => kernel.ioctl(cdev, VFIO_DEVICE_DETACH_IOMMUFD_PT, detachIommufdPt.encode({ argsz: 8 })),
      () => kernel.pread(cdev, new Uint8Array(4), 7n << 40n),
      () => kernel.pwrite(cdev, new Uint8Array(4), 7n << 40n),
      () => kernel.mmap({ length: PAGE, prot: 3, flags: 1, fd: cdev, offset: 0n }),
    ];
    expect(calls.map((call) => outcome<number | bigint>(call))).toEqual(calls.map(() => "EINVAL"));
    program.bind(cdev, program.iommufd());
    expect(kernel.ioctl(cdev, VFIO_DEVICE_GET_INFO, new Uint8Array([20, ...Array(19).fill(0)]))).toBe(0);
    expect(kernel.pread(cdev, new Uint8Array(4), 7n << 40n)).toBe(4);
  });

  it("is shown in sysfs and in fdinfo", () => {
    const { kernel } = machine();
    const at = "/sys/class/vfio-dev/vfio1";
    expect(kernel.readDirectory("/sys/class/vfio-dev")).toEqual(["vfio0", "vfio1", "vfio2"]);
    expect(kernel.readLink(at)).toBe("../../devices/pci0000:00/0000:00:03.0/0000:02:00.0/vfio-dev/vfio1");
    expect(kernel.readFile(`${at}/dev`)).toMatch(/^\d+:1\n$/);
    expect(kernel.readLink(`${at}/device`)).toBe("../../../0000:02:00.0");
    expect(kernel.readLink(`${at}/subsystem`)).toBe("../../../../../../class/vfio-dev");
    expect(kernel.readDirectory("/dev/vfio/devices")).toEqual(["vfio0", "vfio1", "vfio2"]);
    const fd = kernel.open("/dev/vfio/devices/vfio1", O_RDWR);
    expect(kernel.readLink(`/proc/self/fd/${fd}`)).toBe("/dev/vfio/devices/vfio1");
    expect(kernel.readFile(`/proc/self/fdinfo/${fd}`)).toContain("vfio-device-syspath: /sys/devices/pci0000:00");
    expect(machine({ release: "6.5.0" }).kernel.readDirectory(at)).toEqual(["device", "subsystem"]);
  });
});

describe("VFIO_DEVICE_BIND_IOMMUFD", () => {
  it("refuses in the kernel's order", () => {
    const program = machine();
    const cdev = program.cdev(A);
    const iommufd = program.iommufd();
    const request = (fields: Parameters<typeof bindIommufd.encode>[0]) =>
      bind(program, cdev, bindIommufd.encode({ argsz: 16, iommufd, ...fields }));
    expect(bind(program, cdev, new Uint8Array(2))).toBe("EFAULT");
    expect(request({ argsz: 15 })).toBe("EINVAL");
    const longer = new Uint8Array(32);
    longer.set(bindIommufd.encode({ argsz: 32, iommufd }));
    longer[24] = 1;
    expect(bind(program, cdev, longer)).toBe("E2BIG");
    expect(request({ iommufd: -1 })).toBe("EINVAL");
    expect(request({ flags: 2 })).toBe("EINVAL");
    const group = program.group(A);
    expect(request({ iommufd: 99 })).toBe("EBUSY");
    program.kernel.close(group);
    expect(request({ iommufd: 99 })).toBe("EBADF");
    expect(request({ iommufd: program.kernel.open("/dev/null", O_RDWR) })).toBe("EBADFD");
    expect(request({ iommufd: program.container() })).toBe("EBADFD");
    expect(request({})).toBe(0);
    expect(request({})).toBe("EINVAL");
    expect(request({ iommufd: 99 })).toBe("EINVAL");
    const second = program.cdev(A);
    expect(outcome(() => program.bind(second, iommufd))).toBe("EINVAL");
    expect(outcome(() => program.group(A))).toBe("EBUSY");
    program.kernel.close(cdev);
    expect(program.bind(second, iommufd)).toBe(1);
  });

  it("is for devices of their own nodes", () => {
    const program = machine();
    const device = program.open(A).devices[0]!;
    const request = bindIommufd.encode({ argsz: 16, iommufd: program.iommufd() });
    expect(bind(program, device, request)).toBe("EINVAL");
    expect(outcome(() => program.attach(device, 1))).toBe("ENOTTY");
    const older = machine({ release: "6.5.0" });
    expect(bind(older, older.open(A).devices[0]!, request)).toBe("ENOTTY");
  });

  it("takes the group from everybody else", () => {
    const program = machine();
    const { groups } = program.open(B);
    const iommufd = program.iommufd();
    expect(outcome(() => program.bound(B, iommufd))).toBe("EBUSY");
    for (const { fd } of program.kernel.openFds) if (fd !== iommufd) program.kernel.close(fd);
    expect(groups).toHaveLength(1);
    const { cdev } = program.bound(B, iommufd);
    expect(outcome(() => program.group(B))).toBe("EBUSY");
    program.kernel.close(cdev);
    expect(program.status(program.group(B))).toBe(1);
  });

  it("is refused where a kernel driver does DMA in the group", () => {
    const program = machine({ devices: devicesWith("0000:00:04.0", { group: 40 }).map(together) });
    expect(outcome(() => program.bound(A, program.iommufd()))).toBe("EPERM");
    function together(device: ReturnType<typeof devicesWith>[number]) {
      return device.name === A ? { ...device, group: 40 } : device;
    }
  });

  it("is refused where firmware wants a 1:1 mapping", () => {
    const reserved = [{ start: 0x10000000, end: 0x10000fff, type: "direct" as const }];
    const program = machine({ devices: devicesWith(A, { reserved }) });
    expect(outcome(() => program.bound(A, program.iommufd()))).toBe("EINVAL");
    expect(program.kernel.log.join()).toContain("Firmware has requested");
    expect(program.kernel.iommufds[0]?.devices).toEqual([]);
  });

  it("blocks the device's DMA until it is attached, without an event", () => {
    const program = machine();
    const iommufd = program.iommufd();
    const { cdev } = program.bound(A, iommufd);
    const lines = program.kernel.log.length;
    const engine = program.edu(cdev);
    engine.store(0x40000n, 16);
    expect(program.kernel.log).toHaveLength(lines);
    const ioas = program.ioas(iommufd);
    program.attach(cdev, ioas);
    engine.store(0x40000n, 16);
    expect(program.kernel.log.length).toBeGreaterThan(lines);
    program.detach(cdev);
    const after = program.kernel.log.length;
    engine.store(0x40000n, 16);
    expect(program.kernel.log).toHaveLength(after);
  });

  it("leaves the device resettable, mapped and alive when the iommufd is closed", () => {
    const program = machine();
    const { iommufd, ioas, devices } = program.attached(A);
    const va = program.memory(PAGE);
    program.ioasMap(iommufd, ioas, { va, iova: 0x40000 });
    const engine = program.edu(devices[0]!.cdev);
    program.kernel.close(iommufd);
    program.bytes(va, PAGE).fill(0x55);
    engine.store(0x40000n, 16);
    expect(program.bytes(va, PAGE)[0]).toBe(0);
    program.kernel.close(devices[0]!.cdev);
    // Its registers are still mapped, which keeps everything.
    expect(program.kernel.iommufds).toHaveLength(1);
    expect(outcome(() => program.group(A))).toBe("EBUSY");
    program.kernel.munmap(engine.address, 2 ** 20);
    expect(program.kernel.iommufds).toEqual([]);
    expect(program.kernel.pinnedPages).toBe(0);
    expect(program.status(program.group(A))).toBe(1);
  });

  it("holds the driver while its node is open", () => {
    const program = machine();
    const cdev = program.cdev(A);
    const unbind = () => program.kernel.writeFile("/sys/bus/pci/drivers/vfio-pci/unbind", A);
    expect(unbind).toThrow(/deadlock/);
    program.kernel.close(cdev);
    unbind();
    expect(program.kernel.readDirectory("/dev/vfio/devices")).toEqual(["vfio0", "vfio2"]);
  });
});

describe("ATTACH and DETACH", () => {
  it.each([
    ["too short a struct", VFIO_DEVICE_ATTACH_IOMMUFD_PT, attachIommufdPt.encode({ argsz: 11, pt_id: 1 }), "EINVAL"],
    ["a flag that is none", VFIO_DEVICE_ATTACH_IOMMUFD_PT, attachIommufdPt.encode({ flags: 2, pt_id: 1 }), "EINVAL"],
    ["a PASID", VFIO_DEVICE_ATTACH_IOMMUFD_PT, attachIommufdPt.encode({ flags: 1, pt_id: 1 }), "EOPNOTSUPP"],
    ["too short to detach", VFIO_DEVICE_DETACH_IOMMUFD_PT, detachIommufdPt.encode({ argsz: 7 }), "EINVAL"],
    ["a detach flag that is none", VFIO_DEVICE_DETACH_IOMMUFD_PT, detachIommufdPt.encode({ flags: 2 }), "EINVAL"],
    ["a detach of nothing", VFIO_DEVICE_DETACH_IOMMUFD_PT, detachIommufdPt.encode(), 0],
  ])("%s", (_, call, argument, expected) => {
    const program = machine();
    const iommufd = program.iommufd();
    program.ioas(iommufd);
    const { cdev } = program.bound(A, iommufd);
    expect(outcome(() => program.kernel.ioctl(cdev, call, argument))).toBe(expected);
  });

  it("does not know PASIDs before 6.15", () => {
    const program = machine({ release: "6.12.0" });
    const { cdev } = program.bound(A, program.iommufd());
    const argument = attachIommufdPt.encode({ flags: 1, pt_id: 1 });
    expect(outcome(() => program.kernel.ioctl(cdev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, argument))).toBe("EINVAL");
  });
});

describe("a platform device", () => {
  const port: PlatformDescription = {
    bus: "platform",
    name: "9030000.dma-port",
    iommu: "smmu3.0x000000000c020000",
    streamId: 0x42,
    driver: "vfio-platform",
    compatible: ["example,dual-path-dma-port"],
    resources: [{ start: 0x9030000, size: 0x1000 }],
    model: edu(),
  };
  const { devices } = machineOneDescription();
  const withPort = (changes: Partial<PlatformDescription> = {}, other = {}) =>
    machine({ devices: [...devices, { ...port, ...changes }], resetRequired: false, ...other });

  it("needs interrupts of its own, or a parameter of iommufd's, not of type1's", () => {
    const program = withPort({}, { allowUnsafeInterrupts: true });
    const cdev = program.cdev(port.name);
    const iommufd = program.iommufd();
    expect(outcome(() => program.bind(cdev, iommufd))).toBe("EPERM");
    const parameter = "/sys/module/iommufd/parameters/allow_unsafe_interrupts";
    expect(program.kernel.readFile(parameter)).toBe("N\n");
    program.kernel.writeFile(parameter, "1");
    expect(program.bind(cdev, iommufd)).toBe(1);
    expect(program.kernel.log.at(-2)).toMatch(/^vfio-platform 9030000\.dma-port: MSI interrupts are not secure/);
    expect(withPort({}, { iommufdUnsafeInterrupts: true }).kernel.readFile(parameter)).toBe("Y\n");
  });

  it("is attached beside a PCIe function", () => {
    const program = withPort({ msiIsolated: true });
    const { iommufd, ioas } = program.attached(A, port.name);
    expect(program.iovas(iommufd, ioas)).toHaveLength(2);
    expect(program.kernel.iommufds[0]?.ioases[0]?.hwpts).toHaveLength(2);
  });
});

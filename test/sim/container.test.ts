import { describe, expect, it } from "vitest";
import { ioctl } from "../../src/abi/ioctl.js";
import { VFIO_CHECK_EXTENSION, VFIO_GET_API_VERSION, VFIO_IOMMU_MAP_DMA } from "../../src/abi/vfio-container.js";
import {
  containerFd,
  groupStatus,
  VFIO_GROUP_GET_DEVICE_FD,
  VFIO_GROUP_GET_STATUS,
  VFIO_GROUP_SET_CONTAINER,
} from "../../src/abi/vfio-group.js";
import { inert } from "../../src/sim/hw/device-model.js";
import { machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { O_RDWR } from "../../src/syscalls/mmap-flags.js";
import { outcome, PAGE, Program } from "./program.js";

const A = "0000:02:00.0";
const B = "0000:22:00.0";
const UNKNOWN = ioctl("UNKNOWN", 0x7f, "none");

function setUp() {
  const program = new Program(machineOne());
  return { program, kernel: program.kernel, container: program.container(), group: program.group(A) };
}

/** Machine one with one more function in the group of A. */
function withSibling(driver: string | undefined) {
  const description = machineOneDescription();
  const sibling = {
    bus: "pci",
    name: "0000:02:00.1",
    iommu: "smmu3.0x000000000c000000",
    group: 6,
    behind: ["0000:00:03.0"],
    model: inert({ vendor: 0x1af4, device: 0x1000, classCode: 0x020000 }),
    ...(driver === undefined ? {} : { driver }),
  } as const;
  const devices = description.devices.map((device) => (device.name === A ? { ...device, group: 6 } : device));
  return new Program(machineOne({ devices: [...devices, sibling] }));
}

describe("a container without a driver", () => {
  it("answers its version and extensions, and EINVAL to every other ioctl", () => {
    const { kernel, container } = setUp();
    expect(kernel.ioctl(container, VFIO_GET_API_VERSION, 0)).toBe(0);
    expect(outcome(() => kernel.ioctl(container, UNKNOWN, 0))).toBe("EINVAL");
    expect(outcome(() => kernel.ioctl(container, VFIO_IOMMU_MAP_DMA, new Uint8Array(32)))).toBe("EINVAL");
  });

  it("knows UPDATE_VADDR only with type1 set", () => {
    const { program, kernel, container, group } = setUp();
    const extensions = () =>
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 99].map((n) => kernel.ioctl(container, VFIO_CHECK_EXTENSION, n));
    expect(extensions()).toEqual([1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0]);
    program.setContainer(group, container);
    program.setIommu(container);
    expect(extensions()).toEqual([1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0]);
    expect(outcome(() => kernel.ioctl(container, UNKNOWN, 0))).toBe("ENOTTY");
  });
});

describe("SET_IOMMU", () => {
  it("looks at the groups before it looks at the type", () => {
    const { program, container, group } = setUp();
    expect(outcome(() => program.setIommu(container, 3))).toBe("EINVAL");
    expect(outcome(() => program.setIommu(container, 99))).toBe("EINVAL");
    program.setContainer(group, container);
    for (const type of [0, 2, 6, 7, 8, 9, 99]) expect(outcome(() => program.setIommu(container, type))).toBe("ENODEV");
    expect(program.setIommu(container, 3)).toBe(0);
    expect(outcome(() => program.setIommu(container, 99))).toBe("EINVAL");
  });

  it("can be done again when the last group has left, which drops all mappings", () => {
    const { program, kernel, container, group } = setUp();
    program.setContainer(group, container);
    program.setIommu(container);
    program.map(container, 0n, 4096n, program.memory(PAGE));
    expect(kernel.lockedBytes).toBe(PAGE);
    program.unsetContainer(group);
    expect(kernel.lockedBytes).toBe(0);
    expect(outcome(() => program.info(container))).toBe("EINVAL");
    program.setContainer(group, container);
    expect(program.setIommu(container, 1)).toBe(0);
  });
});

describe("a group", () => {
  it("opens once", () => {
    const { program, kernel, group } = setUp();
    expect(outcome(() => program.group(A))).toBe("EBUSY");
    kernel.close(group);
    expect(program.group(A)).toBe(group);
  });

  it("reports its status in at least 8 bytes", () => {
    const { program, kernel, container, group } = setUp();
    expect(program.status(group)).toBe(1);
    program.setContainer(group, container);
    expect(program.status(group)).toBe(3);
    const short = groupStatus.encode({ argsz: 7 });
    expect(outcome(() => kernel.ioctl(group, VFIO_GROUP_GET_STATUS, short))).toBe("EINVAL");
    expect(outcome(() => kernel.ioctl(group, UNKNOWN, 0))).toBe("ENOTTY");
  });

  it.each([
    ["a container", 0, (program: Program) => program.container()],
    ["-1", "EBADF", () => -1],
    ["a closed descriptor", "EBADF", () => 77],
    ["/dev/null", "EBADFD", (program: Program) => program.kernel.open("/dev/null", O_RDWR)],
    ["an eventfd", "EBADFD", (program: Program) => program.kernel.eventfd()],
    ["a group", "EBADFD", (program: Program) => program.group(B)],
  ] as const)("SET_CONTAINER of %s: %s", (_what, expected, fd) => {
    const { program, group } = setUp();
    expect(outcome(() => program.setContainer(group, fd(program)))).toBe(expected);
  });

  it("SET_CONTAINER reads its pointer first, then the descriptor, then whether one is set", () => {
    const { program, kernel, container, group } = setUp();
    program.setContainer(group, container);
    expect(outcome(() => kernel.ioctl(group, VFIO_GROUP_SET_CONTAINER, 0))).toBe("EFAULT");
    expect(outcome(() => kernel.ioctl(group, VFIO_GROUP_SET_CONTAINER, new Uint8Array(3)))).toBe("EFAULT");
    expect(outcome(() => kernel.ioctl(group, VFIO_GROUP_SET_CONTAINER, containerFd.encode({ fd: -1 })))).toBe("EBADF");
    expect(outcome(() => program.setContainer(group, container))).toBe("EINVAL");
    expect(outcome(() => program.setContainer(group, program.container()))).toBe("EINVAL");
  });

  it("cannot leave while a device of it is open", () => {
    const { program, kernel, container, group } = setUp();
    expect(outcome(() => program.unsetContainer(group))).toBe("EINVAL");
    program.setContainer(group, container);
    program.setIommu(container);
    const first = program.device(group, A);
    const second = program.device(group, A);
    expect(outcome(() => program.unsetContainer(group))).toBe("EBUSY");
    kernel.close(first);
    expect(outcome(() => program.unsetContainer(group))).toBe("EBUSY");
    kernel.close(second);
    expect(program.unsetContainer(group)).toBe(0);
  });

  it("gives a device after looking at the name, the container and its driver", () => {
    const { program, container, group } = setUp();
    expect(outcome(() => program.device(group, "0000:99:00.0"))).toBe("ENODEV");
    expect(outcome(() => program.device(group, A))).toBe("EINVAL");
    program.setContainer(group, container);
    expect(outcome(() => program.device(group, A))).toBe("EINVAL");
    program.setIommu(container);
    expect(outcome(() => program.device(group, `${A} `))).toBeGreaterThan(group);
    expect(outcome(() => program.device(group, `${A} fast`))).toBe("EINVAL");
    expect(outcome(() => program.device(group, `${A}x`))).toBe("ENODEV");
    expect(outcome(() => program.device(group, B))).toBe("ENODEV");
    expect(outcome(() => program.device(group, `${A} vf_token=00112233-4455-6677-8899-aabbccddeeff`))).toBe("EINVAL");
    expect(outcome(() => program.device(group, "x".repeat(4096)))).toBe("EINVAL");
    const unterminated = new TextEncoder().encode(A);
    expect(outcome(() => program.kernel.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, unterminated))).toBe("EFAULT");
    expect(program.device(group, A)).toBeGreaterThan(group);
  });
});

describe("viability", () => {
  it("is spoilt by a sibling on a driver that does DMA", () => {
    const program = withSibling("virtio-pci");
    const group = program.group(A);
    expect(program.status(group)).toBe(0);
    expect(outcome(() => program.setContainer(group, program.container()))).toBe("EPERM");
    program.kernel.writeFile("/sys/bus/pci/drivers/virtio-pci/unbind", "0000:02:00.1");
    expect(program.status(group)).toBe(1);
    expect(outcome(() => program.setContainer(group, program.container()))).toBe(0);
  });

  it.each([undefined, "pcieport", "vfio-pci"])("is not spoilt by a sibling on %s", (driver) => {
    const program = withSibling(driver);
    expect(program.status(program.group(A))).toBe(1);
  });

  it("is advisory: a 1:1 region is refused all the same", () => {
    const description = machineOneDescription();
    const reserved = [{ start: 0x4000_0000, end: 0x4000_ffff, type: "direct" }] as const;
    const devices = description.devices.map((device) => (device.name === A ? { ...device, reserved } : device));
    const program = new Program(machineOne({ devices }));
    const group = program.group(A);
    expect(program.status(group)).toBe(1);
    expect(outcome(() => program.setContainer(group, program.container()))).toBe("EINVAL");
    expect(program.kernel.log.at(-1)).toMatch(/^vfio-pci 0000:02:00.0: Firmware has requested this device have a 1:1/);
  });

  it("ends for ordinary drivers while the group is owned", () => {
    const program = withSibling("virtio-pci");
    const { kernel } = program;
    kernel.writeFile("/sys/bus/pci/drivers/virtio-pci/unbind", "0000:02:00.1\n");
    const group = program.group(A);
    program.setContainer(group, program.container());
    const bind = () => kernel.writeFile("/sys/bus/pci/drivers/virtio-pci/bind", "0000:02:00.1\n");
    expect(outcome(bind)).toBe("EBUSY");
    expect(outcome(() => kernel.writeFile("/sys/kernel/iommu_groups/6/type", "identity"))).toBe("EPERM");
    program.unsetContainer(group);
    expect(outcome(bind)).toBe(undefined);
  });
});

describe("who keeps whom", () => {
  it("a container without descriptor lives in its groups", () => {
    const { program, kernel, container, group } = setUp();
    program.setContainer(group, container);
    program.setIommu(container);
    program.map(container, 0n, 4096n, program.memory(PAGE));
    kernel.close(container);
    expect(program.status(group)).toBe(3);
    expect(kernel.lockedBytes).toBe(PAGE);
    expect(outcome(() => program.setContainer(group, program.container()))).toBe("EINVAL");
    expect(program.device(group, A)).toBeGreaterThan(0);
  });

  it("an open device keeps the group's file, its place in the container and its mappings", () => {
    const { program, kernel, container, group } = setUp();
    program.setContainer(group, container);
    program.setIommu(container);
    const device = program.device(group, A);
    kernel.close(group);
    expect(outcome(() => program.group(A))).toBe("EBUSY");
    expect(program.map(container, 0n, 4096n, program.memory(PAGE))).toBe(0);
    kernel.close(device);
    expect(kernel.lockedBytes).toBe(0);
    expect(outcome(() => program.map(container, 0n, 4096n, program.memory(PAGE)))).toBe("EINVAL");
    expect(program.status(program.group(A))).toBe(1);
  });

  it("a mapped region keeps the device when every descriptor is closed", () => {
    const { program, kernel, container, group } = setUp();
    program.setContainer(group, container);
    program.setIommu(container);
    const device = program.device(group, A);
    const { address } = program.edu(device);
    for (const fd of [device, group, container]) kernel.close(fd);
    expect(kernel.openFds).toEqual([]);
    expect(outcome(() => program.group(A))).toBe("EBUSY");
    expect(kernel.containers).toHaveLength(1);
    kernel.munmap(address, PAGE);
    expect(outcome(() => program.group(A))).toBe("EBUSY");
    kernel.munmap(address + BigInt(PAGE), 2 ** 20 - PAGE);
    expect(program.status(program.group(A))).toBe(1);
    expect(kernel.containers).toEqual([]);
  });

  it("closing a group's descriptor takes it out, and the others stay", () => {
    const program = new Program(machineOne());
    const { container, groups, devices } = program.open(A, B);
    program.map(container, 0n, 4096n, program.memory(PAGE));
    program.kernel.close(devices[0]!);
    program.kernel.close(groups[0]!);
    expect(program.kernel.containers[0]?.groups).toEqual([10]);
    expect(program.kernel.lockedBytes).toBe(PAGE);
    expect(program.kernel.containers[0]?.type1?.domains.map(({ mappings }) => mappings.length)).toEqual([1]);
  });

  it("a group whose last device leaves VFIO is dead for who has it open", () => {
    const { program, kernel, container, group } = setUp();
    program.setContainer(group, container);
    kernel.writeFile("/sys/bus/pci/drivers/vfio-pci/unbind", A);
    expect(outcome(() => program.status(group))).toBe("ENODEV");
    expect(outcome(() => program.setContainer(group, container))).toBe("ENODEV");
    expect(kernel.readDirectory("/dev/vfio")).toEqual(["10", "vfio"]);
  });

  it("unbinding a device that is open would wait for ever, and says so", () => {
    const { program, kernel, container, group } = setUp();
    program.setContainer(group, container);
    program.setIommu(container);
    program.device(group, A);
    expect(() => kernel.writeFile("/sys/bus/pci/drivers/vfio-pci/unbind", A)).toThrow(/deadlock/);
  });
});

import { describe, expect, it } from "vitest";
import { ioctl } from "../../src/abi/ioctl.js";
import { bindIommufd, VFIO_DEVICE_BIND_IOMMUFD } from "../../src/abi/vfio-cdev.js";
import { deviceInfo, VFIO_DEVICE_GET_INFO, VFIO_DEVICE_RESET } from "../../src/abi/vfio-device.js";
import { irqInfo, irqSet, VFIO_DEVICE_GET_IRQ_INFO, VFIO_DEVICE_SET_IRQS } from "../../src/abi/vfio-irq.js";
import { regionInfo, VFIO_DEVICE_GET_REGION_INFO } from "../../src/abi/vfio-region.js";
import { machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { MAP_PRIVATE, MAP_SHARED } from "../../src/syscalls/mmap-flags.js";
import type { Fd } from "../../src/syscalls/syscalls.js";
import { outcome, PAGE, Program } from "./program.js";

const A = "0000:02:00.0";
const NVME = "0000:01:00.0";
const CONFIG = 7n << 40n;
const NONE = 1;
const BOOL = 2;
const EVENTFD = 4;
const MASK = 8;
const UNMASK = 16;
const TRIGGER = 32;
const INTX = 0;
const MSI = 1;
const MSIX = 2;
const REQ = 4;

function setUp() {
  const program = new Program(machineOne());
  const { devices } = program.open(A);
  const device = devices[0]!;
  return { program, kernel: program.kernel, device };
}

function setIrqs(
  program: Program,
  device: Fd,
  index: number,
  flags: number,
  data: Uint8Array,
  change: { start?: number; count?: number; argsz?: number } = {},
) {
  const count = data.length === 0 ? 1 : (flags & EVENTFD) === 0 ? data.length : data.length / 4;
  return outcome(() =>
    program.kernel.ioctl(
      device,
      VFIO_DEVICE_SET_IRQS,
      irqSet.encode({ index, flags, start: 0, count, ...change }, data),
    ),
  );
}

const fds = (...numbers: number[]) => new Uint8Array(Int32Array.from(numbers).buffer);
const nothing = new Uint8Array();

describe("a device on vfio-pci", () => {
  it("has 9 regions, 5 interrupt indexes and a reset", () => {
    const { kernel, device } = setUp();
    const bytes = deviceInfo.encode();
    expect(kernel.ioctl(device, VFIO_DEVICE_GET_INFO, bytes)).toBe(0);
    expect(deviceInfo.decode(bytes)).toMatchObject({ flags: 3, num_regions: 9, num_irqs: 5, cap_offset: 0 });
    const short = deviceInfo.encode({ argsz: 15 });
    expect(outcome(() => kernel.ioctl(device, VFIO_DEVICE_GET_INFO, short))).toBe("EINVAL");
  });

  it.each([
    [0, 2 ** 20, 7],
    [1, 0, 0],
    [6, 0, 0],
    [7, 256, 3],
  ])("region %i has %i bytes and flags %i", (index, size, flags) => {
    const { kernel, device } = setUp();
    const bytes = regionInfo.encode({ index });
    kernel.ioctl(device, VFIO_DEVICE_GET_REGION_INFO, bytes);
    expect(regionInfo.decode(bytes)).toMatchObject({ size: BigInt(size), flags, offset: BigInt(index) << 40n });
  });

  it.each([8, 9, 100])("there is no region %i", (index) => {
    const { kernel, device } = setUp();
    expect(outcome(() => kernel.ioctl(device, VFIO_DEVICE_GET_REGION_INFO, regionInfo.encode({ index })))).toBe(
      "EINVAL",
    );
  });

  it.each([
    [INTX, 1, 7],
    [MSI, 1, 9],
    [MSIX, 0, 9],
    [REQ, 1, 9],
  ])("interrupt index %i has %i and flags %i", (index, count, flags) => {
    const { kernel, device } = setUp();
    const bytes = irqInfo.encode({ index });
    kernel.ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, bytes);
    expect(irqInfo.decode(bytes)).toMatchObject({ count, flags });
  });

  it.each([3, 5])("there is no interrupt index %i on a conventional PCI function", (index) => {
    const { kernel, device } = setUp();
    expect(outcome(() => kernel.ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, irqInfo.encode({ index })))).toBe("EINVAL");
  });

  it("knows no iommufd, and says what is not simulated", () => {
    const { kernel, device } = setUp();
    const call = (request: number) => outcome(() => kernel.ioctl(device, ioctl("?", request, "none"), 0));
    expect(outcome(() => kernel.ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, bindIommufd.encode()))).toBe("ENOTTY");
    expect([0x70, 0x71, 0x74, 0x75, 0x7f].map(call)).toEqual(["EFAULT", "EFAULT", "ENOSYS", "EFAULT", "ENOTTY"]);
  });

  it("is opened with memory on and bus mastering off, and closed the same", () => {
    const { program, kernel, device } = setUp();
    const command = (fd: Fd) => {
      const bytes = new Uint8Array(2);
      kernel.pread(fd, bytes, CONFIG + 4n);
      return bytes[0];
    };
    expect(command(device)).toBe(2);
    program.edu(device);
    expect(command(device)).toBe(6);
    kernel.ioctl(device, VFIO_DEVICE_RESET, 0);
    expect(command(device)).toBe(6);
  });
});

describe("configuration space", () => {
  it("has the header of QEMU's edu, and an MSI capability", () => {
    const { kernel, device } = setUp();
    const bytes = new Uint8Array(256);
    expect(kernel.pread(device, bytes, CONFIG)).toBe(256);
    const view = new DataView(bytes.buffer);
    expect([view.getUint16(0, true), view.getUint16(2, true)]).toEqual([0x1234, 0x11e8]);
    expect(view.getUint32(8, true)).toBe(0x00ff0010);
    expect([bytes[0x34], bytes[0x40], bytes[0x3d]]).toEqual([0x40, 5, 1]);
    expect([...kernel.readBytes(`/sys/bus/pci/devices/${A}/config`)]).toEqual([...bytes]);
  });

  it("gives the size of a BAR to whoever writes ones", () => {
    const { kernel, device } = setUp();
    const bytes = new Uint8Array(4);
    kernel.pwrite(device, new Uint8Array(4).fill(0xff), CONFIG + 0x10n);
    kernel.pread(device, bytes, CONFIG + 0x10n);
    expect(new DataView(bytes.buffer).getUint32(0, true)).toBe(0xfff00000);
    kernel.pwrite(device, new Uint8Array(4).fill(0xff), CONFIG);
    kernel.pread(device, bytes, CONFIG);
    expect([...bytes]).toEqual([0x34, 0x12, 0xe8, 0x11]);
  });

  it("ends with EFAULT", () => {
    const { kernel, device } = setUp();
    expect(outcome(() => kernel.pread(device, new Uint8Array(4), CONFIG + 254n))).toBe("EFAULT");
    expect(outcome(() => kernel.pwrite(device, new Uint8Array(4), CONFIG + 256n))).toBe("EFAULT");
  });
});

describe("BAR access", () => {
  it("is the same through the file and the mapping", () => {
    const { program, kernel, device } = setUp();
    const { mmio } = program.edu(device);
    const bytes = new Uint8Array(4);
    kernel.pread(device, bytes, 0n);
    expect(new DataView(bytes.buffer).getUint32(0, true)).toBe(0x010000ed);
    expect(mmio.read32(0)).toBe(0x010000ed);
    kernel.pwrite(device, Uint8Array.of(0x0f, 0, 0, 0), 4n);
    expect(mmio.read32(4)).toBe(0xfffffff0);
    mmio.write32(8, 5);
    while ((mmio.read32(0x20) & 1) !== 0);
    expect(mmio.read32(8)).toBe(120);
    expect(mmio.read8(0)).toBe(0xff);
  });

  it("is cut at the end, and refused behind it", () => {
    const { kernel, device } = setUp();
    expect(kernel.pread(device, new Uint8Array(8), 2n ** 20n - 4n)).toBe(4);
    expect(outcome(() => kernel.pread(device, new Uint8Array(4), 2n ** 20n))).toBe("EINVAL");
    expect(outcome(() => kernel.pread(device, new Uint8Array(4), 1n << 40n))).toBe("EINVAL");
    expect(outcome(() => kernel.pread(device, new Uint8Array(4), 9n << 40n))).toBe("EINVAL");
  });

  it("needs the memory bit of the command register", () => {
    const { program, kernel, device } = setUp();
    const { mmio } = program.edu(device);
    kernel.pwrite(device, Uint8Array.of(0, 0), CONFIG + 4n);
    expect(outcome(() => kernel.pread(device, new Uint8Array(4), 0n))).toBe("EIO");
    expect(() => mmio.read32(0)).toThrow(/SIGBUS/);
    kernel.pwrite(device, Uint8Array.of(2, 0), CONFIG + 4n);
    expect(mmio.read32(0)).toBe(0x010000ed);
  });

  it.each([
    ["private", 0n, PAGE, MAP_PRIVATE],
    ["beyond the end", 2n ** 20n - 4096n, 2 * PAGE, MAP_SHARED],
    ["an empty BAR", 1n << 40n, PAGE, MAP_SHARED],
    ["configuration space", CONFIG, PAGE, MAP_SHARED],
    ["a region that does not exist", 20n << 40n, PAGE, MAP_SHARED],
  ])("mmap is refused: %s", (_name, offset, length, flags) => {
    const { kernel, device } = setUp();
    expect(outcome(() => kernel.mmap({ length, prot: 3, flags, fd: device, offset }))).toBe("EINVAL");
  });

  it("a part of a BAR is mapped where the part begins", () => {
    const { kernel, device } = setUp();
    const address = kernel.mmap({ length: PAGE, prot: 3, flags: MAP_SHARED, fd: device, offset: 4096n });
    const mmio = kernel.mmio(kernel.view(address, PAGE));
    mmio.write32(0, 1);
    expect(mmio.read32(0)).toBe(0xffffffff);
    kernel.munmap(address, PAGE);
    expect(() => mmio.read32(0)).toThrow(/SIGSEGV/);
  });

  it("works on a device without a model, which reads as zeros", () => {
    const { devices } = machineOneDescription();
    const changed = devices.map((each) => (each.name === NVME ? { ...each, driver: "vfio-pci" } : each));
    const program = new Program(machineOne({ devices: changed }));
    const bytes = new Uint8Array(4).fill(9);
    program.kernel.pread(program.open(NVME).devices[0]!, bytes, 0n);
    expect([...bytes]).toEqual([0, 0, 0, 0]);
  });
});

describe("SET_IRQS", () => {
  it.each([
    ["no such index", 5, NONE | TRIGGER, {}, "EINVAL"],
    ["an index without interrupts", MSIX, EVENTFD | TRIGGER, {}, "EINVAL"],
    ["a start beyond the end", MSI, NONE | TRIGGER, { start: 1 }, "EINVAL"],
    ["too many", MSI, NONE | TRIGGER, { count: 2 }, "EINVAL"],
    ["an overflow", MSI, NONE | TRIGGER, { start: 1, count: 0xffff_ffff }, "EINVAL"],
    ["no data type", MSI, TRIGGER, {}, "EINVAL"],
    ["two data types", MSI, NONE | BOOL | TRIGGER, {}, "EINVAL"],
    ["an unknown flag", MSI, NONE | 64, {}, "EINVAL"],
    ["a short argsz", MSI, NONE | TRIGGER, { argsz: 19 }, "EINVAL"],
    ["data that argsz does not cover", MSI, BOOL | TRIGGER, { argsz: 20 }, "EINVAL"],
    ["data that is not there", MSI, BOOL | TRIGGER, { argsz: 21 }, "EFAULT"],
    ["no action", MSI, NONE, {}, "ENOTTY"],
    ["two actions", MSI, NONE | TRIGGER | MASK, {}, "ENOTTY"],
    ["masking MSI", MSI, NONE | MASK, {}, "ENOTTY"],
    ["masking what is not enabled", INTX, NONE | MASK, {}, "EINVAL"],
    ["triggering what is not enabled", INTX, NONE | TRIGGER, {}, "EINVAL"],
    ["triggering MSI that is not enabled", MSI, NONE | TRIGGER, {}, "EINVAL"],
  ])("%s", (_name, index, flags, change, expected) => {
    const { program, device } = setUp();
    expect(setIrqs(program, device, index, flags, nothing, change)).toBe(expected);
  });

  it("takes only eventfds", () => {
    const { program, device, kernel } = setUp();
    expect(setIrqs(program, device, MSI, EVENTFD | TRIGGER, fds(99))).toBe("EBADF");
    expect(setIrqs(program, device, MSI, EVENTFD | TRIGGER, fds(device))).toBe("EINVAL");
    expect(setIrqs(program, device, MSI, EVENTFD | TRIGGER, fds(-1))).toBe(0);
    expect(setIrqs(program, device, INTX, EVENTFD | TRIGGER, fds(kernel.eventfd()))).toBe("EINVAL");
    expect(setIrqs(program, device, MSI, NONE | TRIGGER, nothing, { count: 0 })).toBe(0);
    expect(setIrqs(program, device, INTX, EVENTFD | TRIGGER, fds(kernel.eventfd()))).toBe(0);
  });

  it("MSI: the device's interrupt, and the program's own", () => {
    const { program, device, kernel } = setUp();
    const { mmio } = program.edu(device);
    const eventfd = kernel.eventfd();
    setIrqs(program, device, MSI, EVENTFD | TRIGGER, fds(eventfd));
    mmio.write32(0x60, 1);
    mmio.write32(0x60, 2);
    setIrqs(program, device, MSI, BOOL | TRIGGER, Uint8Array.of(1));
    setIrqs(program, device, MSI, BOOL | TRIGGER, Uint8Array.of(0));
    expect(kernel.readEventfd(eventfd)).toBe(3);
    expect(kernel.readEventfd(eventfd)).toBe(0);
    expect(mmio.read32(0x24)).toBe(3);
    setIrqs(program, device, MSI, NONE | TRIGGER, nothing, { count: 0 });
    mmio.write32(0x60, 4);
    expect(kernel.readEventfd(eventfd)).toBe(0);
  });

  it("INTx: masked when it fires, and fires again after unmasking while the wire is up", () => {
    const { program, device, kernel } = setUp();
    const { mmio } = program.edu(device);
    const eventfd = kernel.eventfd();
    setIrqs(program, device, INTX, EVENTFD | TRIGGER, fds(eventfd));
    mmio.write32(0x60, 1);
    mmio.write32(0x60, 2);
    expect(kernel.readEventfd(eventfd)).toBe(1);
    expect(setIrqs(program, device, INTX, NONE | UNMASK, nothing)).toBe(0);
    expect(kernel.readEventfd(eventfd)).toBe(1);
    mmio.write32(0x64, 3);
    setIrqs(program, device, INTX, NONE | UNMASK, nothing);
    expect(kernel.readEventfd(eventfd)).toBe(0);
    mmio.write32(0x60, 1);
    expect(kernel.readEventfd(eventfd)).toBe(1);
    expect(setIrqs(program, device, INTX, EVENTFD | MASK, fds(eventfd))).toBe("ENOTTY");
  });

  it("a transfer ends with an interrupt, told to whoever watches, later", async () => {
    const { program, device, kernel } = setUp();
    const edu = program.edu(device);
    const eventfd = kernel.eventfd();
    setIrqs(program, device, MSI, EVENTFD | TRIGGER, fds(eventfd));
    let told = 0;
    const stop = kernel.watch(eventfd, () => {
      told += kernel.readEventfd(eventfd);
    });
    edu.start(0n, 0x40000n, 4, 5);
    expect([told, edu.mmio.read32(0x98) & 1]).toEqual([0, 1]);
    await new Promise((resolve) => setTimeout(resolve));
    expect([told, edu.mmio.read32(0x98) & 1, edu.mmio.read32(0x24)]).toEqual([1, 0, 0x100]);
    stop();
    kernel.writeEventfd(eventfd, 5);
    await new Promise((resolve) => setTimeout(resolve));
    expect([told, kernel.readEventfd(eventfd)]).toEqual([1, 5]);
  });
});

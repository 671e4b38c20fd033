import { describe, expect, it } from "vitest";
import { deviceInfo, VFIO_DEVICE_GET_INFO, VFIO_DEVICE_RESET } from "../../src/abi/vfio-device.js";
import { irqInfo, irqSet, VFIO_DEVICE_GET_IRQ_INFO, VFIO_DEVICE_SET_IRQS } from "../../src/abi/vfio-irq.js";
import { regionInfo, VFIO_DEVICE_GET_REGION_INFO } from "../../src/abi/vfio-region.js";
import { edu } from "../../src/sim/hw/edu.js";
import type { PlatformDescription } from "../../src/sim/linux/description.js";
import { type MachineOneOptions, machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { MAP_PRIVATE, MAP_SHARED } from "../../src/syscalls/mmap-flags.js";
import { outcome, PAGE, Program } from "./program.js";

const PORT = "9030000.dma-port";
const A = "0000:02:00.0";

/** The article's chip: a port on the SoC's own bus, here with the registers of an edu. */
function setUp(
  change: Partial<PlatformDescription> = {},
  options: MachineOneOptions = {},
  without: readonly (keyof PlatformDescription)[] = [],
) {
  const { devices } = machineOneDescription();
  const port: PlatformDescription = {
    bus: "platform",
    name: PORT,
    iommu: "smmu3.0x000000000c020000",
    streamId: 0x42,
    driver: "vfio-platform",
    compatible: ["example,dual-path-dma-port"],
    resources: [
      { start: 0x9030000, size: 0x1000 },
      { start: 0x9031000, size: 0x800 },
      { start: 0x9032000, size: 0x1000, readOnly: true },
    ],
    interrupts: ["level", "edge"],
    msiIsolated: true,
    model: edu(),
    ...change,
  };
  const kept = Object.entries(port).filter(([key]) => !without.some((name) => name === key));
  const device = Object.fromEntries(kept) as unknown as PlatformDescription;
  return new Program(machineOne({ devices: [...devices, device], resetRequired: false, ...options }));
}

describe("binding to vfio-platform", () => {
  const bind = (program: Program) =>
    outcome(() => program.kernel.writeFile("/sys/bus/platform/drivers/vfio-platform/bind", PORT));
  const override = (program: Program) =>
    program.kernel.writeFile(`/sys/bus/platform/devices/${PORT}/driver_override`, "vfio-platform\n");

  it("needs the override, and a reset handler unless that is waived", () => {
    const program = setUp({}, { resetRequired: true }, ["driver"]);
    expect(bind(program)).toBe("ENODEV");
    override(program);
    expect(bind(program)).toBe("ENOENT");
    expect(program.kernel.log).toEqual([
      `vfio-platform ${PORT}: VFIO: No reset function found for device ${PORT}`,
      `vfio-platform ${PORT}: probe with driver vfio-platform failed with error -2`,
    ]);
    expect(outcome(() => program.kernel.writeFile("/sys/bus/platform/drivers_probe", PORT))).toBe(undefined);
    const waived = setUp({}, {}, ["driver"]);
    override(waived);
    expect(bind(waived)).toBe(undefined);
    expect(bind(waived)).toBe("EBUSY");
  });

  it("needs an IOMMU, a coherent one", () => {
    const { iommus } = machineOneDescription();
    const incoherent = setUp({}, { iommus: iommus.map((iommu) => ({ ...iommu, coherent: false })) }, ["driver"]);
    override(incoherent);
    expect(bind(incoherent)).toBe("EINVAL");
    const alone = setUp({}, {}, ["driver", "iommu"]);
    override(alone);
    expect(bind(alone)).toBe("EINVAL");
    const undescribed = setUp({}, {}, ["driver", "compatible"]);
    override(undescribed);
    expect(bind(undescribed)).toBe("EINVAL");
  });

  it("is in a group of its own that type1 refuses without isolated interrupts", () => {
    const program = setUp({ msiIsolated: false });
    const container = program.container();
    const group = program.group(PORT);
    expect(program.setContainer(group, container)).toBe(0);
    expect(outcome(() => program.setIommu(container))).toBe("EPERM");
    const live = program.open(A).container;
    program.unsetContainer(group);
    expect(outcome(() => program.setContainer(group, live))).toBe("EPERM");
    expect(setUp({ msiIsolated: false }, { allowUnsafeInterrupts: true }).open(PORT).devices).toHaveLength(1);
  });
});

describe("a device on vfio-platform", () => {
  it("says what it has, and that it cannot be reset", () => {
    const program = setUp();
    const device = program.open(PORT).devices[0]!;
    const bytes = deviceInfo.encode();
    program.kernel.ioctl(device, VFIO_DEVICE_GET_INFO, bytes);
    expect(deviceInfo.decode(bytes)).toMatchObject({ flags: 4, num_regions: 3, num_irqs: 2 });
    expect(outcome(() => program.kernel.ioctl(device, VFIO_DEVICE_RESET, 0))).toBe("EINVAL");
    const withReset = setUp({ resetHandler: true });
    expect(withReset.kernel.ioctl(withReset.open(PORT).devices[0]!, VFIO_DEVICE_RESET, 0)).toBe(0);
  });

  it("maps regions of whole pages only", () => {
    const program = setUp();
    const device = program.open(PORT).devices[0]!;
    const flags = [0, 1, 2].map((index) => {
      const bytes = regionInfo.encode({ index });
      program.kernel.ioctl(device, VFIO_DEVICE_GET_REGION_INFO, bytes);
      return regionInfo.decode(bytes).flags;
    });
    expect(flags).toEqual([7, 3, 5]);
    const map = (index: bigint, mode: number) => {
      const request = { length: PAGE, prot: 3, flags: mode, fd: device, offset: index << 40n };
      return outcome(() => program.kernel.mmio(program.kernel.view(program.kernel.mmap(request), PAGE)).read32(0));
    };
    expect([map(0n, MAP_SHARED), map(0n, MAP_PRIVATE), map(1n, MAP_SHARED), map(3n, MAP_SHARED)]).toEqual([
      0x010000ed,
      "EINVAL",
      "EINVAL",
      "EINVAL",
    ]);
    expect(
      outcome(() => program.kernel.ioctl(device, VFIO_DEVICE_GET_REGION_INFO, regionInfo.encode({ index: 3 }))),
    ).toBe("EINVAL");
  });

  it("is read and written through its file, short at the end of a region", () => {
    const program = setUp();
    const device = program.open(PORT).devices[0]!;
    const { kernel } = program;
    expect(kernel.pread(device, new Uint8Array(8), 0xffcn)).toBe(4);
    expect(outcome(() => kernel.pread(device, new Uint8Array(4), 0x1000n))).toBe("EINVAL");
    expect(outcome(() => kernel.pwrite(device, new Uint8Array(4), 2n << 40n))).toBe("EINVAL");
    expect(outcome(() => kernel.pread(device, new Uint8Array(4), 3n << 40n))).toBe("EINVAL");
  });

  it("masters memory through its own SMMU, at the iova the PCI function uses", () => {
    const program = setUp();
    const { container, devices } = program.open(A, PORT);
    const address = program.memory(PAGE);
    const bytes = program.bytes(address, PAGE);
    program.map(container, 0x100000n, 4096n, address);
    bytes[0] = 77;
    program.edu(devices[0]!).fetch(0x100000n, 1);
    const mapped = program.kernel.mmap({ length: PAGE, prot: 3, flags: MAP_SHARED, fd: devices[1]!, offset: 0n });
    const mmio = program.kernel.mmio(program.kernel.view(mapped, PAGE));
    mmio.write64(0x80, 0x100000n);
    mmio.write64(0x88, 0x40000n);
    mmio.write64(0x90, 1n);
    mmio.write32(0x98, 1);
    while ((mmio.read32(0x98) & 1) !== 0);
    mmio.write64(0x80, 0x40000n);
    mmio.write64(0x88, 0x100008n);
    mmio.write32(0x98, 3);
    while ((mmio.read32(0x98) & 1) !== 0);
    expect(bytes[8]).toBe(77);
  });
});

describe("interrupts of a platform device", () => {
  const NONE = 1;
  const EVENTFD = 4;
  const MASK = 8;
  const UNMASK = 16;
  const TRIGGER = 32;
  const set = (
    program: Program,
    device: number,
    flags: number,
    index = 0,
    change: { count?: number } = {},
    data = new Uint8Array(),
  ) => {
    const bytes = irqSet.encode({ flags, index, start: 0, count: 1, ...change }, data);
    return outcome(() => program.kernel.ioctl(device as never, VFIO_DEVICE_SET_IRQS, bytes));
  };

  it("level ones are masked when they fire, edge ones are not", () => {
    const program = setUp();
    const device = program.open(PORT).devices[0]!;
    const flags = [0, 1].map((index) => {
      const bytes = irqInfo.encode({ index });
      program.kernel.ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, bytes);
      return irqInfo.decode(bytes).flags;
    });
    expect(flags).toEqual([7, 1]);
  });

  it("a missing or doubled action is ENOTTY, masking an edge EINVAL", () => {
    const program = setUp();
    const device = program.open(PORT).devices[0]!;
    expect(set(program, device, NONE)).toBe("ENOTTY");
    expect(set(program, device, NONE | MASK | TRIGGER)).toBe("ENOTTY");
    expect(set(program, device, NONE | MASK, 1)).toBe("EINVAL");
    expect(set(program, device, NONE | TRIGGER, 2)).toBe("EINVAL");
    expect(set(program, device, NONE | TRIGGER, 0, { count: 2 })).toBe("EINVAL");
    expect(set(program, device, NONE | TRIGGER, 0, { count: 0 })).toBe(0);
    expect(set(program, device, EVENTFD | TRIGGER, 0, {}, new Uint8Array(Int32Array.of(99).buffer))).toBe("EBADF");
  });

  it("the model's wire is the first one", () => {
    const program = setUp();
    const device = program.open(PORT).devices[0]!;
    const { kernel } = program;
    const eventfd = kernel.eventfd();
    set(program, device, EVENTFD | TRIGGER, 0, {}, new Uint8Array(Int32Array.of(eventfd).buffer));
    kernel.pwrite(device, Uint8Array.of(1, 0, 0, 0), 0x60n);
    expect(kernel.readEventfd(eventfd)).toBe(1);
    set(program, device, NONE | UNMASK);
    expect(kernel.readEventfd(eventfd)).toBe(1);
  });

  const fdData = (fd: number) => new Uint8Array(Int32Array.of(fd).buffer);

  it("a level one that the program fires is masked by that, as if the device had", () => {
    const program = setUp();
    const device = program.open(PORT).devices[0]!;
    const { kernel } = program;
    const [level, edge] = [kernel.eventfd(), kernel.eventfd()];
    set(program, device, EVENTFD | TRIGGER, 0, {}, fdData(level));
    set(program, device, EVENTFD | TRIGGER, 1, {}, fdData(edge));
    for (const index of [0, 0, 1, 1]) expect(set(program, device, NONE | TRIGGER, index)).toBe(0);
    expect([kernel.readEventfd(level), kernel.readEventfd(edge)]).toEqual([1, 2]);
    kernel.pwrite(device, Uint8Array.of(1, 0, 0, 0), 0x60n);
    expect(kernel.readEventfd(level)).toBe(0);
    set(program, device, NONE | UNMASK);
    expect(kernel.readEventfd(level)).toBe(1);
  });

  it("are masked and unmasked by eventfds, one for each", async () => {
    const program = setUp();
    const device = program.open(PORT).devices[0]!;
    const { kernel } = program;
    const [fired, mask, unmask] = [kernel.eventfd(), kernel.eventfd(), kernel.eventfd()] as const;
    set(program, device, EVENTFD | TRIGGER, 0, {}, fdData(fired));
    expect(set(program, device, EVENTFD | MASK, 0, {}, fdData(mask))).toBe(0);
    expect(set(program, device, EVENTFD | UNMASK, 0, {}, fdData(unmask))).toBe(0);
    expect(set(program, device, EVENTFD | MASK, 0, {}, fdData(unmask))).toBe("EBUSY");
    expect(set(program, device, EVENTFD | MASK, 0, {}, fdData(99))).toBe("EBADF");
    expect(set(program, device, EVENTFD | MASK, 1, {}, fdData(mask))).toBe("EINVAL");
    kernel.writeEventfd(mask, 1);
    await undefined;
    kernel.pwrite(device, Uint8Array.of(1, 0, 0, 0), 0x60n);
    expect([kernel.readEventfd(fired), kernel.readEventfd(mask)]).toEqual([0, 0]);
    kernel.writeEventfd(unmask, 1);
    await undefined;
    expect(kernel.readEventfd(fired)).toBe(1);
    expect(set(program, device, EVENTFD | UNMASK, 0, {}, fdData(-1))).toBe(0);
    kernel.writeEventfd(unmask, 1);
    await undefined;
    expect([kernel.readEventfd(fired), kernel.readEventfd(unmask)]).toEqual([0, 1]);
    kernel.close(mask);
    expect(set(program, device, EVENTFD | MASK, 0, {}, fdData(unmask))).toBe(0);
  });
});

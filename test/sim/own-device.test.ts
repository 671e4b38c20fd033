import { describe, expect, it, vi } from "vitest";
import { irqSet, VFIO_DEVICE_SET_IRQS } from "../../src/abi/vfio-irq.js";
import type { DeviceHost, PciIdentity, SimulatedDevice } from "../../src/sim/hw/device-model.js";
import { simulatedDevice } from "../../src/sim/hw/simulated-device.js";
import type { DeviceDescription } from "../../src/sim/linux/description.js";
import { machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { MAP_SHARED } from "../../src/syscalls/mmap-flags.js";
import type { Fd } from "../../src/syscalls/syscalls.js";
import { PAGE, Program } from "./program.js";

const ON_PCI = "0000:05:00.0";
const ON_SOC = "a000000.adder";
const SMMU = machineOneDescription().iommus[0]!.name;
const IDENTITY: PciIdentity = {
  vendor: 0x1234,
  device: 0xadd0,
  classCode: 0xff0000,
  bars: [{ index: 2, size: PAGE }],
  msiVectors: 2,
  intx: true,
};

/** Adds 1 to the 32-bit word whose address is written to register 0, and interrupts. Register 4 throws. */
function adder(host: DeviceHost): SimulatedDevice {
  let added = 0;
  return {
    read: (region, offset) => {
      if (offset === 4) throw new Error("no such register");
      return offset === 8 ? region : added;
    },
    write: (_region, offset, _width, value) => {
      if (offset !== 0) return;
      host.clock.after(1, () => {
        const word = new Uint32Array(1);
        host.dma.read(value, new Uint8Array(word.buffer));
        word[0]! += 1;
        host.dma.write(value, new Uint8Array(word.buffer));
        added += 1;
        host.raiseInterrupt();
      });
    },
    reset: () => {
      added = 0;
    },
  };
}

function setUp(create: (host: DeviceHost) => SimulatedDevice = adder) {
  const model = simulatedDevice(create, { pci: IDENTITY });
  const devices: readonly DeviceDescription[] = [
    { bus: "pci", name: ON_PCI, iommu: SMMU, driver: "vfio-pci", model },
    {
      bus: "platform",
      name: ON_SOC,
      iommu: SMMU,
      streamId: 9,
      driver: "vfio-platform",
      compatible: ["example,adder"],
      resources: [{ start: 0xa000000, size: PAGE }],
      interrupts: ["level", "level", "edge"],
      msiIsolated: true,
      resetHandler: true,
      model,
    },
  ];
  return new Program(machineOne({ devices: [...machineOneDescription().devices, ...devices] }));
}

/** The device's registers, mapped. */
function registers({ kernel }: Program, device: Fd, region: bigint) {
  const address = kernel.mmap({ length: PAGE, prot: 3, flags: MAP_SHARED, fd: device, offset: region << 40n });
  return { mmio: kernel.mmio(kernel.view(address, PAGE)), address };
}

describe.each([
  { name: ON_PCI, region: 2n, index: 1, what: "PCI function, with MSI" },
  { name: ON_PCI, region: 2n, index: 0, what: "PCI function, with INTx" },
  { name: ON_SOC, region: 0n, index: 0, what: "platform device" },
])("a device of one's own as $what", ({ name, region, index }) => {
  it("has registers, DMA through its IOMMU, interrupts and a reset", () => {
    const program = setUp();
    const { kernel } = program;
    const { container, devices } = program.open(name);
    const device = devices[0]!;
    if (name === ON_PCI) kernel.pwrite(device, Uint8Array.of(6, 0), (7n << 40n) + 4n);
    const { mmio, address } = registers(program, device, region);
    const memory = program.memory(PAGE);
    program.map(container, 0x5000n, BigInt(PAGE), memory);
    const eventfd = kernel.eventfd();
    const trigger = irqSet.encode(
      { flags: 4 | 32, index, start: 0, count: 1 },
      new Uint8Array(Int32Array.of(eventfd).buffer),
    );
    kernel.ioctl(device, VFIO_DEVICE_SET_IRQS, trigger);
    program.bytes(memory, PAGE)[8] = 41;
    mmio.write32(0, 0x5008);
    while (mmio.read32(0) === 0);
    expect(program.bytes(memory, PAGE)[8]).toBe(42);
    expect(kernel.readEventfd(eventfd)).toBe(1);
    expect([mmio.read32(8), kernel.clock.now >= 1]).toEqual([Number(region), true]);
    kernel.munmap(address, PAGE);
    kernel.close(device);
    expect(kernel.openFds.map(({ fd }) => fd)).not.toContain(device);
  });

  it("throws where it is accessed, and the kernel goes on", () => {
    const program = setUp();
    const device = program.open(name).devices[0]!;
    if (name === ON_PCI) program.kernel.pwrite(device, Uint8Array.of(6, 0), (7n << 40n) + 4n);
    const { mmio } = registers(program, device, region);
    expect(() => mmio.read32(4)).toThrow("no such register");
    expect(() => program.kernel.pread(device, new Uint8Array(4), (region << 40n) + 4n)).toThrow("no such register");
    expect(mmio.read32(0)).toBe(0);
  });

  it("cannot keep the kernel from closing it", () => {
    const boom = new Error("boom");
    const program = setUp(() => ({
      read: () => 0,
      write: () => {},
      reset: () => {
        throw boom;
      },
    }));
    const queued: (() => void)[] = [];
    const spy = vi.spyOn(globalThis, "queueMicrotask").mockImplementation((task) => void queued.push(task));
    const { container, groups, devices } = program.open(name);
    for (const fd of [...devices, ...groups, container]) program.kernel.close(fd);
    spy.mockRestore();
    expect(program.kernel.openFds).toEqual([]);
    expect(queued.length).toBeGreaterThan(0);
    for (const task of queued) expect(task).toThrow(boom);
  });
});

it("a platform device of one's own has all of its node's interrupts", () => {
  let host: DeviceHost | undefined;
  const program = setUp((given) => {
    host = given;
    return { read: () => 0, write: () => {} };
  });
  const { kernel } = program;
  const device = program.open(ON_SOC).devices[0]!;
  const eventfds = [0, 1, 2].map((index) => {
    const eventfd = kernel.eventfd();
    const data = new Uint8Array(Int32Array.of(eventfd).buffer);
    kernel.ioctl(device, VFIO_DEVICE_SET_IRQS, irqSet.encode({ flags: 4 | 32, index, start: 0, count: 1 }, data));
    return eventfd;
  });
  const fired = () => eventfds.map((eventfd) => kernel.readEventfd(eventfd) ?? 0);
  // The last one made is the platform device's.
  host!.raiseInterrupt(1);
  expect(fired()).toEqual([0, 1, 0]);
  host!.raiseInterrupt(2);
  host!.lowerInterrupt(2);
  host!.raiseInterrupt(2);
  host!.raiseInterrupt(0);
  expect(fired()).toEqual([1, 0, 2]);
  const unmask = irqSet.encode({ flags: 1 | 16, index: 1, start: 0, count: 1 }, new Uint8Array());
  kernel.ioctl(device, VFIO_DEVICE_SET_IRQS, unmask);
  expect(fired()).toEqual([0, 1, 0]);
});

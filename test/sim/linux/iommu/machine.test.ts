import { describe, expect, it } from "vitest";
import { irqSet, VFIO_DEVICE_SET_IRQS } from "../../../../src/abi/vfio-irq.js";
import type { TimedDmaPort, Wiring } from "../../../../src/sim/hw/device-model.js";
import type { DeviceDescription, PlatformDescription } from "../../../../src/sim/linux/description.js";
import { type MachineOneOptions, machineOne, machineOneDescription } from "../../../../src/sim/linux/machine-one.js";
import type { Fd } from "../../../../src/syscalls/syscalls.js";
import { outcome, PAGE, Program } from "../../program.js";

const A = "0000:02:00.0";
const B = "0000:22:00.0";
const SMMU0 = "smmu3.0x000000000c000000";
const SMMU1 = "smmu3.0x000000000c020000";
const P = BigInt(PAGE);
const IOVA = 0x1000_0000n;

function setUp(options: MachineOneOptions = {}, ...devices: readonly string[]) {
  const program = new Program(machineOne(options));
  const opened = program.open(...(devices.length === 0 ? [A, B] : devices));
  const address = program.memory(4 * PAGE);
  const edus = opened.devices.map((device) => program.edu(device));
  return { ...opened, program, kernel: program.kernel, address, bytes: program.bytes(address, 4 * PAGE), edus };
}

/** Has an edu copy a byte from one address to another; what arrives. */
function copied({ edus, bytes }: ReturnType<typeof setUp>, edu: number, from: bigint, to: bigint): number {
  edus[edu]!.fetch(from, 1);
  edus[edu]!.store(to, 1);
  return bytes[Number(to - IOVA)]!;
}

describe("a kernel that maps in one SMMU only", () => {
  it("says nothing, but what is behind the other SMMU does not see the memory", () => {
    const machine = setUp({ bugs: { mapSkips: SMMU1 } });
    const { program, container, address, bytes, kernel } = machine;
    bytes[0] = 7;
    expect(program.map(container, IOVA, 2n * P, address)).toBe(0);
    expect(copied(machine, 0, IOVA, IOVA + 8n)).toBe(7);
    expect(kernel.log).toEqual([]);
    bytes[16] = 1;
    expect(copied(machine, 1, IOVA, IOVA + 16n)).toBe(1);
    expect(kernel.log.filter((line) => line.includes("F_TRANSLATION"))).toHaveLength(2);
    expect(kernel.containers[0]?.type1?.domains.map(({ iommu, mappings }) => [iommu, mappings.length])).toEqual([
      [SMMU1, 0],
      [SMMU0, 1],
    ]);
    expect(program.unmap(container, IOVA, 2n * P)).toBe(2n * P);
    expect([kernel.lockedBytes, kernel.pinnedPages]).toEqual([0, 0]);
  });

  it("pretends in a replay, too, and whichever SMMU it is", () => {
    const { program, container, address, kernel } = setUp({ bugs: { mapSkips: SMMU0 } }, A);
    program.map(container, IOVA, P, address);
    expect(program.setContainer(program.group(B), container)).toBe(0);
    expect(program.unmap(container, IOVA, P)).toBe(P);
    expect([kernel.lockedBytes, kernel.pinnedPages]).toEqual([0, 0]);
  });
});

describe("a kernel that forgets to invalidate a TLB", () => {
  it("leaves that SMMU translating to memory that is gone", () => {
    const machine = setUp({ bugs: { unmapKeepsTlb: SMMU0 } });
    const { program, container, address, bytes, kernel, edus } = machine;
    program.map(container, IOVA, 2n * P, address);
    for (const edu of edus) edu.fetch(IOVA, 4);
    program.unmap(container, IOVA, 2n * P);
    bytes.fill(9, 0, 4);
    edus[1]!.store(IOVA, 4);
    expect(kernel.log.filter((line) => line.includes("F_TRANSLATION"))).toHaveLength(1);
    expect([...bytes.subarray(0, 4)]).toEqual([9, 9, 9, 9]);
    edus[0]!.store(IOVA, 4);
    expect(kernel.log.filter((line) => line.includes("F_TRANSLATION"))).toHaveLength(1);
    expect([...bytes.subarray(0, 4)]).toEqual([0, 0, 0, 0]);
  });

  it("and one that does not translates nothing any more", () => {
    const { program, container, address, bytes, kernel, edus } = setUp();
    program.map(container, IOVA, 2n * P, address);
    for (const edu of edus) edu.fetch(IOVA, 4);
    program.unmap(container, IOVA, 2n * P);
    bytes.fill(9, 0, 4);
    for (const edu of edus) edu.store(IOVA, 4);
    expect(kernel.log.filter((line) => line.includes("F_TRANSLATION"))).toHaveLength(2);
    expect([...bytes.subarray(0, 4)]).toEqual([9, 9, 9, 9]);
  });
});

describe("bugs", () => {
  it.each([{ mapSkips: "smmu9" }, { unmapKeepsTlb: "smmu9" }])("are in IOMMUs that exist", (bugs) => {
    expect(() => machineOne({ bugs })).toThrow(/smmu9, which the machine lacks/);
  });

  it("attachesNowhere is that of Linux 6.14, on any release", () => {
    const machine = setUp({ bugs: { attachesNowhere: true } });
    const { program, container, address, bytes, kernel } = machine;
    program.map(container, IOVA, P, address);
    bytes[0] = 7;
    expect(copied(machine, 0, IOVA, IOVA + 8n)).toBe(7);
    bytes[16] = 1;
    expect(copied(machine, 1, IOVA, IOVA + 16n)).toBe(1);
    expect(kernel.log).toEqual([]);
    expect(kernel.containers[0]?.type1?.domains).toHaveLength(1);
  });
});

/** VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER of MSI. */
function enableMsi(program: Program, device: Fd): Fd {
  const eventfd = program.kernel.eventfd();
  const data = new Uint8Array(Int32Array.of(eventfd).buffer);
  program.kernel.ioctl(device, VFIO_DEVICE_SET_IRQS, irqSet.encode({ index: 1, flags: 36, start: 0, count: 1 }, data));
  return eventfd;
}

describe("message-signalled interrupts", () => {
  const RAISE = 0x60;
  const interrupts = (program: Program, eventfd: Fd) => program.kernel.readEventfd(eventfd);

  it("go to a doorbell that the kernel maps at the beginning of the MSI window, in each domain", () => {
    const { program, kernel, devices, edus } = setUp();
    const eventfds = devices.map((device) => enableMsi(program, device));
    const doorbell = { iova: 0x800_0000, physicalAddress: 0x809_0000, size: PAGE, read: true, write: true };
    expect(kernel.containers[0]?.type1?.domains.map(({ mappings }) => mappings)).toEqual([[doorbell], [doorbell]]);
    const before = kernel.smmus.map(({ counters }) => counters.translations);
    for (const edu of edus) edu.mmio.write32(RAISE, 1);
    expect(eventfds.map((eventfd) => interrupts(program, eventfd))).toEqual([1, 1]);
    expect(kernel.smmus.map(({ counters }, index) => counters.translations - before[index]!)).toEqual([1, 1]);
    expect(kernel.log).toEqual([]);
  });

  it("are not replayed as a mapping of the program's", () => {
    const { program, kernel, container, devices, address } = setUp({}, A);
    program.map(container, IOVA, P, address);
    enableMsi(program, devices[0]!);
    program.setContainer(program.group(B), container);
    const sizes = kernel.containers[0]?.type1?.domains.map(({ mappings }) => mappings.map(({ iova }) => iova));
    expect(sizes).toEqual([[Number(IOVA)], [0x800_0000, Number(IOVA)]]);
  });

  it("do not arrive where the device's attach went nowhere", () => {
    const { program, kernel, devices, edus } = setUp({ release: "6.14.0" });
    const eventfds = devices.map((device) => enableMsi(program, device));
    for (const edu of edus) edu.mmio.write32(RAISE, 1);
    expect(eventfds.map((eventfd) => interrupts(program, eventfd))).toEqual([1, 0]);
    expect(kernel.log).toEqual([]);
  });

  it("do not arrive from a device that may not master the bus", () => {
    const { program, kernel, devices, edus } = setUp({}, A);
    const eventfd = enableMsi(program, devices[0]!);
    kernel.pwrite(devices[0]!, Uint8Array.of(2, 0), (7n << 40n) + 4n);
    edus[0]!.mmio.write32(RAISE, 1);
    expect(interrupts(program, eventfd)).toBe(0);
  });

  it("can be written as data, too, by the device that they are for and by no other", () => {
    const { program, devices, edus, container, address, bytes } = setUp();
    const [first] = devices.map((device) => enableMsi(program, device));
    program.map(container, IOVA, P, address);
    bytes.fill(0, 0, 4);
    for (const edu of edus) edu.fetch(IOVA, 4);
    edus[1]!.store(0x800_0040n, 4);
    expect(interrupts(program, first!)).toBe(0);
    edus[0]!.store(0x800_0040n, 4);
    expect(interrupts(program, first!)).toBe(1);
    edus[0]!.store(0x800_0040n, 1);
    edus[0]!.store(0x800_0044n, 4);
    expect(interrupts(program, first!)).toBe(0);
  });

  it("need a domain that can map a page: 64 KiB granules cannot map one of 4 KiB", () => {
    const { iommus } = machineOneDescription();
    const { program, devices } = setUp({ iommus: iommus.map((iommu) => ({ ...iommu, pageSizes: 0x20010000n })) }, A);
    expect(outcome(() => enableMsi(program, devices[0]!))).toBe("ENOMEM");
  });

  it("go to the doorbell itself where the interrupt controller has a window of its own", () => {
    const { iommus } = machineOneDescription();
    const reserved = [{ start: 0x80_0000, end: 0x80_ffff, type: "msi" }] as const;
    const { program, kernel, devices, edus } = setUp({ iommus: iommus.map((iommu) => ({ ...iommu, reserved })) }, A);
    enableMsi(program, devices[0]!);
    expect(kernel.containers[0]?.type1?.domains[0]?.mappings).toEqual([]);
    // Nobody maps it in this simulation: it would be the interrupt controller's business.
    edus[0]!.mmio.write32(RAISE, 1);
    expect(kernel.log[0]).toMatch(/event 0x10 received/);
  });
});

describe("a device that nobody opened", () => {
  it("is in the domain of the DMA API, where nothing is mapped", () => {
    let dma: TimedDmaPort | undefined;
    const model = {
      create: (wiring: Wiring) => {
        dma = wiring.dma;
        return { read: () => 0n, write: () => {}, reset: () => {} };
      },
    };
    const port: PlatformDescription = {
      bus: "platform",
      name: "9030000.dma-port",
      iommu: SMMU1,
      streamId: 0x42,
      resources: [],
      model,
    };
    const kernel = machineOne({ devices: [...machineOneDescription().devices, port] });
    expect(dma?.read(0x4000_0000n, new Uint8Array(4))).toBe(false);
    expect(kernel.log.at(-2)).toBe(
      "arm-smmu-v3 arm-smmu-v3.1.auto: event: F_TRANSLATION client: 9030000.dma-port sid: 0x42 ssid: 0x0 iova: 0x40000000 ipa: 0x0",
    );
  });

  it("on no PCI bus has its StreamID given", () => {
    const port: PlatformDescription = {
      bus: "platform",
      name: "9030000.dma-port",
      iommu: SMMU1,
      resources: [],
      model: { create: () => ({ read: () => 0n, write: () => {}, reset: () => {} }) },
    };
    const withPort = (each: PlatformDescription) => machineOne({ devices: [...machineOneDescription().devices, each] });
    expect(() => withPort(port)).toThrow(`${port.name} is behind ${SMMU1} and has no StreamID`);
    const { iommu: _, ...untranslated } = port;
    expect(() => withPort(untranslated)).not.toThrow();
  });

  it("with the StreamID of another one gets no group, and VFIO does not take it", () => {
    const { devices } = machineOneDescription();
    const alias = devices.map(
      (device): DeviceDescription => (device.name === B ? { ...device, streamId: 0x2100 } : device),
    );
    const kernel = machineOne({ devices: alias });
    expect(kernel.log).toEqual([
      `pci ${B}: Aliasing StreamID 0x2100 (from 0000:21:00.0) unsupported, expect DMA to be broken`,
      `vfio-pci ${B}: probe with driver vfio-pci failed with error -22`,
    ]);
  });
});

describe("the machine", () => {
  it("has memory that its SMMUs can address, however much was used before", () => {
    const iommus = [{ name: SMMU0 }, { name: SMMU1, outputBits: 32 }];
    const { program, container, kernel } = setUp({ iommus, memlock: Number.POSITIVE_INFINITY });
    const size = 2 ** 28;
    for (let round = 0; round < 30; round++) {
      const address = program.memory(size);
      expect(program.map(container, IOVA, BigInt(size), address)).toBe(0);
      expect(program.unmap(container, IOVA, BigInt(size))).toBe(BigInt(size));
      kernel.munmap(address, size);
    }
  });

  it("counts what its SMMUs do", () => {
    const machine = setUp({}, A);
    const { program, container, address, kernel } = machine;
    program.map(container, IOVA, 2n * P, address);
    const before = kernel.smmus[0]!.counters;
    copied(machine, 0, IOVA, IOVA + 8n);
    copied(machine, 0, IOVA, IOVA + 8n);
    const after = kernel.smmus[0]!.counters;
    expect(kernel.smmus.map(({ name }) => name)).toEqual([SMMU0, SMMU1]);
    expect(after.translations - before.translations).toBe(4);
    expect(after.walks - before.walks).toBe(1);
    expect(after.tlbHits - before.tlbHits).toBe(3);
    program.unmap(container, IOVA, 2n * P);
    expect(kernel.smmus[0]!.counters.invalidations - after.invalidations).toBe(1);
    expect(kernel.smmus[1]!.counters.translations).toBe(0);
  });

  it("does not count the kernel's own memory as the process's", () => {
    const { kernel, program, container, address } = setUp();
    const before = kernel.usedMemory;
    for (let index = 0n; index < 50n; index++) program.map(container, index << 30n, P, address);
    expect(kernel.usedMemory).toBe(before);
  });

  it("has as much memory as it is given", () => {
    const memory = [{ start: 0x8000_0000, size: 2 ** 23 }];
    const { program, container, kernel } = setUp({ memory });
    const address = program.memory(2 ** 24);
    expect(outcome(() => program.map(container, IOVA, 2n ** 24n, address))).toBe("ENOMEM");
    expect([kernel.lockedBytes, kernel.containers[0]?.type1?.dmas.length]).toEqual([0, 0]);
    expect(program.map(container, IOVA, P, address)).toBe(0);
    expect(kernel.containers[0]?.type1?.domains[0]?.mappings[0]?.physicalAddress).toBeGreaterThanOrEqual(0x8000_0000);
    expect(() => machineOne({ memory: [{ start: 2 ** 30, size: 4096 }] })).toThrow(/the kernel cannot start: ENOMEM/);
    expect(() => machineOne({ memory: [...memory, ...memory] })).toThrow(/RAM is at .*, where RAM is/);
  });

  it("has registers where nothing else is", () => {
    const { iommus, devices } = machineOneDescription();
    const at = (registers: number) => iommus.map((iommu, index) => (index === 0 ? { ...iommu, registers } : iommu));
    expect(() => machineOne({ iommus: at(0x4000_0000) })).toThrow(/smmu3.0x000000000c000000 is at .*, where RAM is/);
    expect(() => machineOne({ iommus: at(0x808_0000) })).not.toThrow();
    // Memory from 0 on moves what has no place of its own.
    const { kernel, program, container, edus, address, bytes } = setUp({
      memory: [{ start: 0, size: 2 ** 30 }],
      devices,
    });
    program.map(container, IOVA, P, address);
    bytes[0] = 5;
    edus[0]!.fetch(IOVA, 1);
    edus[0]!.store(IOVA + 1n, 1);
    expect([bytes[1], kernel.log.length]).toEqual([5, 0]);
  });

  it("gives devices the links that they are described with", () => {
    const ports: TimedDmaPort[] = [];
    const model = {
      create: (wiring: Wiring) => {
        ports.push(wiring.dma);
        return { read: () => 0n, write: () => {}, reset: () => {} };
      },
    };
    const port = (
      name: string,
      link?: { readonly bandwidth: number; readonly latency: number },
    ): DeviceDescription => ({
      bus: "platform",
      name,
      resources: [],
      model,
      ...(link && { link }),
    });
    const devices = [port("fast"), port("slow", { bandwidth: 1e9, latency: 50 })];
    machineOne({ devices, interconnect: { memoryBandwidth: 2e9 } });
    expect(ports.map((dma) => dma.send(1000))).toEqual([0, 1050]);
    expect(ports[0]?.readTimed(0x4000_0000n, new Uint8Array(1000)).done).toBe(500);
  });
});

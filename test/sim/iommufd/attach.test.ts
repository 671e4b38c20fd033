import { describe, expect, it } from "vitest";
import { irqSet, VFIO_DEVICE_SET_IRQS, VFIO_IRQ_SET } from "../../../src/abi/vfio-irq.js";
import { inert } from "../../../src/sim/hw/device-model.js";
import { machineOneDescription } from "../../../src/sim/linux/machine-one.js";
import { outcome, PAGE } from "../program.js";
import { A, A2, B, devicesWith, machine } from "./iommufd-program.js";

const P = BigInt(PAGE);
const SMMU0 = "smmu3.0x000000000c000000";
const SMMU1 = "smmu3.0x000000000c020000";

describe("one page table for two devices", () => {
  function tableOf(...[first, second]: [string, string]) {
    const program = machine();
    const iommufd = program.iommufd();
    const ioas = program.ioas(iommufd);
    const [one, two] = [program.bound(first, iommufd), program.bound(second, iommufd)];
    const hwpt = program.hwpt(iommufd, one.id, ioas);
    return { program, iommufd, ioas, one, two, hwpt };
  }

  it("is refused across two SMMUs, without a word in the log", () => {
    const { program, one, two, hwpt } = tableOf(A, B);
    expect([one.id, two.id, hwpt]).toEqual([2, 3, 4]);
    const lines = program.kernel.log.length;
    expect(program.attach(one.cdev, hwpt)).toBe(hwpt);
    expect(outcome(() => program.attach(two.cdev, hwpt))).toBe("EINVAL");
    expect(program.kernel.log).toHaveLength(lines);
    expect(program.kernel.iommufds[0]?.devices.map((device) => device.hwpt)).toEqual([hwpt, undefined]);
  });

  it("is no matter behind one, and both reach the same memory", () => {
    const { program, iommufd, ioas, one, two, hwpt } = tableOf(A, A2);
    expect([program.attach(one.cdev, hwpt), program.attach(two.cdev, hwpt)]).toEqual([hwpt, hwpt]);
    const va = program.memory(PAGE);
    program.bytes(va, PAGE).fill(0x77);
    program.ioasMap(iommufd, ioas, { va, iova: 0x40000 });
    const edu = program.edu(one.cdev);
    edu.fetch(0x40000n, 64);
    program.bytes(va, PAGE).fill(0);
    edu.store(0x40000n, 64);
    expect([...program.bytes(va, PAGE).subarray(0, 65)]).toEqual([...Array<number>(64).fill(0x77), 0]);
    expect(program.kernel.iommufds[0]?.ioases[0]?.hwpts).toHaveLength(1);
  });

  it("has the mappings from the start, and keeps them without devices", () => {
    const { program, iommufd, ioas, one, hwpt } = tableOf(A, B);
    expect(program.iovas(iommufd, ioas)).toEqual(["0-ffffffffffff"]);
    program.ioasMap(iommufd, ioas, { va: program.memory(PAGE), iova: 0x1000 });
    expect(program.kernel.pinnedPages).toBe(1);
    program.attach(one.cdev, hwpt);
    program.detach(one.cdev);
    program.detach(one.cdev);
    expect(program.kernel.pinnedPages).toBe(1);
    expect(program.destroy(iommufd, hwpt)).toBe(0);
    expect(program.kernel.pinnedPages).toBe(0);
    expect(program.iovas(iommufd, ioas)).toEqual(["0-ffffffffffffffff"]);
  });

  it("seems to work on Linux 6.14, where the second device's DMA goes nowhere", () => {
    const program = machine({ release: "6.14.0" });
    const iommufd = program.iommufd();
    const ioas = program.ioas(iommufd);
    const [one, two] = [program.bound(A, iommufd), program.bound(B, iommufd)];
    const hwpt = program.hwpt(iommufd, one.id, ioas);
    expect([program.attach(one.cdev, hwpt), program.attach(two.cdev, hwpt)]).toEqual([hwpt, hwpt]);
    const va = program.memory(PAGE);
    program.ioasMap(iommufd, ioas, { va, iova: 0x40000 });
    program.bytes(va, PAGE).fill(0x77);
    const lines = program.kernel.log.length;
    program.edu(two.cdev).store(0x40000n, 64);
    expect(program.bytes(va, PAGE)[0]).toBe(0x77);
    expect(program.kernel.log).toHaveLength(lines);
    program.edu(one.cdev).store(0x40000n, 64);
    expect(program.bytes(va, PAGE)[0]).toBe(0);
  });

  it.each([
    ["a device that is none", (t: ReturnType<typeof tableOf>) => t.program.hwpt(t.iommufd, 99, t.ioas), "ENOENT"],
    ["an address space for a device", (t) => t.program.hwpt(t.iommufd, t.ioas, t.ioas), "ENOENT"],
    ["an address space that is none", (t) => t.program.hwpt(t.iommufd, t.one.id, 99), "EINVAL"],
    ["a device for an address space", (t) => t.program.hwpt(t.iommufd, t.one.id, t.two.id), "EINVAL"],
    ["a page table for an address space", (t) => t.program.hwpt(t.iommufd, t.one.id, t.hwpt), "EOPNOTSUPP"],
    ["a flag that is none", (t) => t.program.hwpt(t.iommufd, t.one.id, t.ioas, 1 << 9), "EOPNOTSUPP"],
    ["destroying an address space with a table", (t) => t.program.destroy(t.iommufd, t.ioas), "EBUSY"],
    ["destroying a device", (t) => t.program.destroy(t.iommufd, t.one.id), "EBUSY"],
    ["destroying what is none", (t) => t.program.destroy(t.iommufd, 99), "ENOENT"],
    [
      "destroying a table in use",
      (t) => {
        t.program.attach(t.one.cdev, t.hwpt);
        return t.program.destroy(t.iommufd, t.hwpt);
      },
      "EBUSY",
    ],
  ])("%s", (_, call, expected) => {
    const table = tableOf(A, B);
    expect(outcome(() => call(table))).toBe(expected);
  });

  it("is made with what memory there is", () => {
    const program = machine();
    const iommufd = program.iommufd();
    const ioas = program.ioas(iommufd);
    const { id } = program.bound(A, iommufd);
    program.ioasMap(iommufd, ioas, { va: 0x10000n });
    expect(outcome(() => program.hwpt(iommufd, id, ioas))).toBe("EFAULT");
    program.ioasUnmap(iommufd, ioas, 0, PAGE);
    // The id that the failed one had taken is free again.
    expect(program.hwpt(iommufd, id, ioas)).toBe(3);
  });
});

describe("attaching to an address space", () => {
  it("makes a page table for each SMMU, which devices behind the same one share", () => {
    const program = machine();
    const { iommufd, ioas, devices, tables } = program.attached(A, B, A2);
    expect([ioas, ...devices.map(({ id }) => id)]).toEqual([1, 2, 3, 4]);
    expect(tables).toEqual([5, 6, 5]);
    const va = program.memory(PAGE);
    program.ioasMap(iommufd, ioas, { va, iova: 0x40000 });
    const [{ hwpts } = { hwpts: [] }] = program.kernel.iommufds[0]?.ioases ?? [];
    expect(hwpts.map(({ iommu, automatic, mappings }) => [iommu, automatic, mappings.length])).toEqual([
      [SMMU0, true, 1],
      [SMMU1, true, 1],
    ]);
    expect(program.kernel.pinnedPages).toBe(1);
    for (const { cdev } of devices.slice(0, 2)) {
      program.bytes(va, PAGE).fill(0x55);
      program.edu(cdev).store(0x40000n, 16);
      expect(program.bytes(va, PAGE)[0]).toBe(0);
    }
  });

  it("gives ids as they are needed", () => {
    const program = machine();
    const iommufd = program.iommufd();
    const ioas = program.ioas(iommufd);
    const ids = [A, B, A2].map((name) => {
      const { cdev } = program.bound(name, iommufd);
      return program.attach(cdev, ioas);
    });
    expect(ids).toEqual([3, 5, 3]);
  });

  it("never picks a page table that the program made", () => {
    const program = machine();
    const iommufd = program.iommufd();
    const ioas = program.ioas(iommufd);
    const { cdev, id } = program.bound(A, iommufd);
    const own = program.hwpt(iommufd, id, ioas);
    expect(program.attach(cdev, ioas)).toBe(own + 1);
  });

  it("again changes nothing, and the page table goes with its last device", () => {
    const program = machine();
    const { iommufd, ioas, devices, tables } = program.attached(A, A2);
    const [one, two] = devices;
    expect(program.attach(one!.cdev, ioas)).toBe(tables[0]);
    program.detach(one!.cdev);
    expect(outcome(() => program.destroy(iommufd, tables[0]!))).toBe("EBUSY");
    program.kernel.close(two!.cdev);
    expect(program.kernel.iommufds[0]?.ioases[0]?.hwpts).toEqual([]);
    expect(program.destroy(iommufd, ioas)).toBe(0);
  });

  it("moves a device that is attached, and leaves it where it is when that is refused", () => {
    const program = machine();
    const { iommufd, ioas, devices, tables } = program.attached(A);
    const [{ cdev } = devices[0]!] = devices;
    const va = program.memory(PAGE);
    program.ioasMap(iommufd, ioas, { va, iova: 0x40000 });
    const edu = program.edu(cdev);
    const bad = program.ioas(iommufd);
    program.ioasMap(iommufd, bad, { va: 0x10000n, iova: 0x40000 });
    expect(outcome(() => program.attach(cdev, bad))).toBe("EFAULT");
    expect(program.kernel.iommufds[0]?.devices[0]?.hwpt).toBe(tables[0]);
    program.bytes(va, PAGE).fill(0x55);
    edu.store(0x40000n, 16);
    expect(program.bytes(va, PAGE)[0]).toBe(0);
    const good = program.ioas(iommufd);
    const other = program.memory(PAGE);
    program.ioasMap(iommufd, good, { va: other, iova: 0x40000 });
    program.bytes(other, PAGE).fill(0x55);
    program.attach(cdev, good);
    edu.store(0x40000n, 16);
    expect(program.bytes(other, PAGE)[0]).toBe(0);
    expect(program.iovas(iommufd, ioas)).toEqual(["0-ffffffffffffffff"]);
    expect(program.iovas(iommufd, good)).toHaveLength(2);
  });

  it.each([
    ["memory that is not there", { va: 0x10000n }, "EFAULT"],
    ["a mapping where the interrupts are", { va: 0x10000n, iova: 0x8000000n }, "EADDRINUSE"],
    ["a mapping of no whole pages", { va: 0x10000n, iova: 0x40n, length: 64 }, "EADDRINUSE"],
    ["a mapping beyond the aperture", { va: 0x10000n, iova: 2n ** 48n }, "EADDRINUSE"],
  ])("is refused for %s", (_, wish, expected) => {
    const program = machine();
    const iommufd = program.iommufd();
    const ioas = program.ioas(iommufd);
    program.ioasMap(iommufd, ioas, wish);
    const { cdev } = program.bound(A, iommufd);
    expect(outcome(() => program.attach(cdev, ioas))).toBe(expected);
    expect(program.kernel.iommufds[0]).toMatchObject({ ioases: [{ hwpts: [] }], devices: [{ hwpt: undefined }] });
    expect(program.iovas(iommufd, ioas)).toEqual(["0-ffffffffffffffff"]);
    program.ioasUnmap(iommufd, ioas, 0, 2n ** 64n - 1n);
    expect(program.attach(cdev, ioas)).toBe(3);
  });

  it("is refused where memory is locked to the limit", () => {
    const program = machine({ capabilities: [], memlock: PAGE });
    const iommufd = program.iommufd();
    const ioas = program.ioas(iommufd);
    program.ioasMap(iommufd, ioas, { va: program.memory(2 * PAGE), length: 2 * PAGE });
    expect(outcome(() => program.attach(program.bound(A, iommufd).cdev, ioas))).toBe("ENOMEM");
    expect(program.kernel.pinnedPages).toBe(0);
  });

  it("is refused where an SMMU's pages are larger than the processor's", () => {
    const { iommus } = machineOneDescription();
    const program = machine({ iommus: [{ ...iommus[0]!, pageSizes: 0x20010000n }, iommus[1]!] });
    const iommufd = program.iommufd();
    expect(outcome(() => program.attach(program.bound(A, iommufd).cdev, program.ioas(iommufd)))).toBe("EINVAL");
  });

  it("is refused for a mapping that a second SMMU cannot address, and nothing has changed", () => {
    const { iommus } = machineOneDescription();
    const program = machine({ iommus: [iommus[0]!, { ...iommus[1]!, stage: 2, outputBits: 44 }] });
    const { iommufd, ioas } = program.attached(A);
    program.ioasMap(iommufd, ioas, { va: program.memory(PAGE), iova: 2n ** 46n });
    const before = JSON.stringify(program.kernel.iommufds[0]?.ioases);
    const { cdev } = program.bound(B, iommufd);
    expect(outcome(() => program.attach(cdev, ioas))).toBe("EADDRINUSE");
    expect(JSON.stringify(program.kernel.iommufds[0]?.ioases)).toBe(before);
    program.ioasUnmap(iommufd, ioas, 2n ** 46n, P);
    program.attach(cdev, ioas);
    expect(program.iovas(iommufd, ioas)).toEqual(["0-7ffffff", "8100000-fffffffffff"]);
  });

  it.each([
    ["an id that is none", 99, "ENOENT"],
    ["a device's id", 2, "EINVAL"],
  ])("is refused for %s", (_, id, expected) => {
    const program = machine();
    const iommufd = program.iommufd();
    program.ioas(iommufd);
    const { cdev } = program.bound(A, iommufd);
    expect(outcome(() => program.attach(cdev, id))).toBe(expected);
  });
});

describe("messages of a device", () => {
  const MSI = 1;

  it("reach the interrupt controller through every page table that the device is moved to", () => {
    const program = machine();
    const { kernel } = program;
    const { iommufd, devices } = program.attached(A);
    const { cdev } = devices[0]!;
    const event = kernel.eventfd();
    const request = irqSet.encode(
      { index: MSI, flags: VFIO_IRQ_SET.DATA_EVENTFD | VFIO_IRQ_SET.ACTION_TRIGGER, start: 0, count: 1 },
      new Uint8Array(Int32Array.of(event).buffer),
    );
    kernel.ioctl(cdev, VFIO_DEVICE_SET_IRQS, request);
    const engine = program.edu(cdev);
    const raise = () => {
      engine.mmio.write32(0x60, 1);
      engine.mmio.write32(0x64, 1);
      return kernel.readEventfd(event);
    };
    expect(raise()).toBe(1);
    program.attach(cdev, program.ioas(iommufd));
    expect(raise()).toBe(1);
    program.detach(cdev);
    expect(raise()).toBe(0);
    program.attach(cdev, program.ioas(iommufd));
    expect(raise()).toBe(1);
  });
});

describe("two devices of one group", () => {
  const MATE = "0000:02:00.1";

  function group() {
    const mate = {
      bus: "pci" as const,
      name: MATE,
      iommu: SMMU0,
      group: 40,
      driver: "vfio-pci",
      model: inert({ vendor: 1, device: 2, classCode: 0x020000 }),
    };
    const program = machine({ devices: [...devicesWith(A, { group: 40 }), mate] });
    const iommufd = program.iommufd();
    const [a, b] = [program.ioas(iommufd), program.ioas(iommufd)];
    const [one, two] = [program.bound(A, iommufd), program.bound(MATE, iommufd)];
    return { program, iommufd, a, b, one, two };
  }

  it("share one attachment, which either moves for both", () => {
    const { program, iommufd, a, b, one, two } = group();
    const first = program.attach(one.cdev, a);
    expect(outcome(() => program.attach(two.cdev, b))).toBe("EINVAL");
    expect(program.kernel.iommufds[0]?.ioases[1]?.hwpts).toEqual([]);
    expect(program.attach(two.cdev, a)).toBe(first);
    const second = program.attach(one.cdev, b);
    expect(program.kernel.iommufds[0]?.devices.map(({ hwpt }) => hwpt)).toEqual([second, second]);
    expect(program.iovas(iommufd, a)).toEqual(["0-ffffffffffffffff"]);
    program.detach(one.cdev);
    expect(program.kernel.iommufds[0]?.devices.map(({ hwpt }) => hwpt)).toEqual([undefined, second]);
  });

  it("belong to one iommufd", () => {
    const program = machine({
      devices: [
        ...devicesWith(A, { group: 40 }),
        {
          bus: "pci",
          name: MATE,
          iommu: SMMU0,
          group: 40,
          driver: "vfio-pci",
          model: inert({ vendor: 1, device: 2, classCode: 0x020000 }),
        },
      ],
    });
    const { cdev } = program.bound(A, program.iommufd());
    const other = program.iommufd();
    expect(outcome(() => program.bound(MATE, other))).toBe("EPERM");
    program.kernel.close(cdev);
    expect(program.bound(MATE, other).id).toBe(1);
  });
});

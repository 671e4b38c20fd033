import { describe, expect, it, vi } from "vitest";
import type { DeviceFactory, DeviceHost, PciIdentity, SimulatedDevice } from "../../../src/sim/hw/device-model.js";
import { simulatedDevice } from "../../../src/sim/hw/simulated-device.js";
import { FlatMachine } from "./flat-machine.js";

const PCI: PciIdentity = { vendor: 0x1234, device: 1, classCode: 0xff0000, msiVectors: 4 };
const NOTHING: SimulatedDevice = { read: () => 0, write: () => {} };

/** @param wires on a platform device */
function build(
  factory: (host: DeviceHost) => Partial<SimulatedDevice>,
  pci: PciIdentity | undefined = PCI,
  wires?: number,
) {
  const machine = new FlatMachine();
  const [{ dma, pins, table }] = machine.sides;
  pins.wires = wires;
  table.map(0, 2 ** 16);
  let host: DeviceHost | undefined;
  const keep: DeviceFactory = (given) => {
    host = given;
    return { ...NOTHING, ...factory(given) };
  };
  const kind = simulatedDevice(keep, pci === undefined ? {} : { pci });
  const model = kind.create({ clock: machine.clock, dma, interrupts: pins });
  return { machine, pins, model, host: host!, kind };
}

/** What `action` leaves to the event loop to throw. */
function uncaughtIn(action: () => void): unknown[] {
  const queued: (() => void)[] = [];
  const spy = vi.spyOn(globalThis, "queueMicrotask").mockImplementation((task) => void queued.push(task));
  try {
    action();
  } finally {
    spy.mockRestore();
  }
  return queued.flatMap((task) => {
    try {
      task();
      return [];
    } catch (error) {
      return [error];
    }
  });
}

describe("registers of a device of one's own", () => {
  it("are read and written with region, offset and width", () => {
    const seen: unknown[] = [];
    const { model } = build(() => ({
      read: (...access) => {
        seen.push(access);
        return 7;
      },
      write: (...access) => void seen.push(access),
    }));
    model.write(2, 0x10, 4, 5n);
    expect(model.read(1, 0x20, 8)).toBe(7n);
    expect(seen).toEqual([
      [2, 0x10, 4, 5n],
      [1, 0x20, 8],
    ]);
  });

  it("have values of the access's width", () => {
    const answers = [-1, -1n, 0x1_2345, 2n ** 64n + 3n];
    const { model } = build(() => ({ read: (_region, offset) => answers[offset]! }));
    expect(answers.map((_, at) => model.read(0, at, 2))).toEqual([0xffffn, 0xffffn, 0x2345n, 3n]);
  });

  it.each([undefined, 1.5, Number.NaN, "1"])("cannot read as %s", (answer) => {
    const { model } = build(() => ({ read: () => answer as number }));
    expect(() => model.read(3, 0x44, 4)).toThrow(/answered .* for offset 0x44 of region 3/);
  });

  it("throw what the device throws, where they are accessed", () => {
    const boom = () => {
      throw new Error("boom");
    };
    const { model } = build(() => ({ read: boom, write: boom }));
    expect(() => model.read(0, 0, 4)).toThrow("boom");
    expect(() => model.write(0, 0, 4, 0n)).toThrow("boom");
  });
});

describe("time of a device of one's own", () => {
  it("passes while a register is read again and again", () => {
    let busy = true;
    const { model } = build(({ clock }) => ({
      write: () => clock.after(3, () => clock.after(4, () => (busy = false))),
      read: () => Number(busy),
    }));
    model.write(0, 0, 4, 1n);
    let reads = 0;
    while (model.read(0, 0, 4) === 1n) reads += 1;
    expect(reads).toBe(3);
  });

  it("does not pass for registers that are looked at once, or written between", () => {
    const { model, machine, host } = build(() => ({}));
    host.clock.after(5, () => {});
    for (let offset = 0; offset < 64; offset += 4) model.read(0, offset, 4);
    model.read(1, 0, 4);
    model.write(0, 0, 4, 0n);
    model.read(0, 0, 4);
    expect(machine.clock.now).toBe(0);
    model.read(0, 0, 4);
    expect([machine.clock.now, host.clock.now]).toEqual([5, 5]);
  });

  it("ends what was begun before a reset", () => {
    const seen: string[] = [];
    const { model, machine, host } = build(() => ({ reset: () => void seen.push("reset") }));
    host.clock.after(1, () => seen.push("before"));
    model.reset();
    host.clock.after(1, () => seen.push("after"));
    machine.settle();
    expect(seen).toEqual(["reset", "after"]);
  });
});

describe("interrupts of a device of one's own", () => {
  it("are messages with MSI, and the wire without", () => {
    const { host, pins } = build(() => ({}));
    host.raiseInterrupt(3);
    expect([pins.level, pins.messages]).toEqual([true, 0]);
    host.lowerInterrupt();
    pins.msiEnabled = true;
    host.raiseInterrupt(3);
    expect([pins.level, pins.messages]).toEqual([false, 1]);
  });

  it("are as many as it has", () => {
    expect(() => build(() => ({})).host.raiseInterrupt(4)).toThrow(/no interrupt vector 4/);
    expect(() => build(() => ({}), { ...PCI, msiVectors: 1 }).host.raiseInterrupt(-1)).toThrow(/vector -1/);
  });

  it("are wires of their own on a platform device", () => {
    const { host, pins, model } = build(() => ({}), PCI, 2);
    host.raiseInterrupt(1);
    expect([...pins.raised]).toEqual([1]);
    host.raiseInterrupt();
    host.lowerInterrupt(1);
    expect([...pins.raised]).toEqual([0]);
    host.raiseInterrupt(1);
    model.reset();
    expect([...pins.raised]).toEqual([]);
    expect(() => host.raiseInterrupt(2)).toThrow(/no interrupt 2/);
    expect(() => host.lowerInterrupt(-1)).toThrow(/no interrupt -1/);
  });

  it("go nowhere on a platform device that has none", () => {
    const { host, pins, model } = build(() => ({}), PCI, 0);
    host.raiseInterrupt();
    expect(() => host.raiseInterrupt(1)).toThrow(/no interrupt 1/);
    model.reset();
    expect(pins.level).toBe(false);
  });

  it("are low after a reset", () => {
    const { host, pins, model } = build(() => ({}));
    host.raiseInterrupt();
    model.reset();
    expect(pins.level).toBe(false);
  });
});

describe("DMA of a device of one's own", () => {
  it("reaches memory", () => {
    const { host, machine } = build(() => ({}));
    expect(host.dma.write(0x100n, Uint8Array.of(1, 2, 3))).toBe(true);
    const into = new Uint8Array(2);
    expect([host.dma.read(0x101n, into), [...into]]).toEqual([true, [2, 3]]);
    expect(machine.memory.bytes[0x100]).toBe(1);
  });
});

describe("a device that throws on its own", () => {
  const boom = () => {
    throw new Error("boom");
  };

  it("when it is reset, throws from the event loop", () => {
    const { model } = build(() => ({ reset: boom }));
    expect(uncaughtIn(() => model.reset())).toEqual([new Error("boom")]);
  });

  it("when its time has come, too, and not at somebody else's access", () => {
    const { machine, host } = build(() => ({}));
    host.clock.after(1, boom);
    expect(uncaughtIn(() => machine.settle())).toEqual([new Error("boom")]);
  });
});

describe("the kind of a device of one's own", () => {
  it("makes a device for each place it is built into", () => {
    let made = 0;
    const kind = simulatedDevice(() => {
      made += 1;
      return NOTHING;
    });
    expect(kind.pci).toBeUndefined();
    for (const { dma, pins } of new FlatMachine().sides) {
      kind.create({ clock: new FlatMachine().clock, dma, interrupts: pins });
    }
    expect(made).toBe(2);
  });

  it.each<[string, Partial<PciIdentity>]>([
    ["vendor of a PCI identity is 65536", { vendor: 0x10000 }],
    ["classCode of a PCI identity is -1", { classCode: -1 }],
    ["msiVectors of a PCI identity is 3", { msiVectors: 3 }],
    ["msiVectors of a PCI identity is 64", { msiVectors: 64 }],
    ["the index of a BAR of a PCI identity is 6", { bars: [{ index: 6, size: 4096 }] }],
    ["a BAR's size of a PCI identity is 8", { bars: [{ index: 0, size: 8 }] }],
    ["a BAR's size of a PCI identity is 4095", { bars: [{ index: 0, size: 4095 }] }],
    [
      "the index of a BAR of a PCI identity is 1",
      {
        bars: [
          { index: 1, size: 16 },
          { index: 1, size: 16 },
        ],
      },
    ],
  ])("is refused: %s", (message, change) => {
    expect(() => simulatedDevice(() => NOTHING, { pci: { ...PCI, ...change } })).toThrow(message);
  });
});

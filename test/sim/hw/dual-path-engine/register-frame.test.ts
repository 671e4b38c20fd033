import { describe, expect, it } from "vitest";
import { Clock } from "../../../../src/sim/hw/clock.js";
import type { RegisterWidth } from "../../../../src/sim/hw/device-model.js";
import { dualPathEngine } from "../../../../src/sim/hw/dual-path-engine/dual-path-engine.js";
import { type Register, type RegisterName, registers } from "../../../../src/sim/hw/dual-path-engine/registers.js";
import { FlatMachine } from "../flat-machine.js";
import { EngineRig } from "./rig.js";

const ones = (width: RegisterWidth) => BigInt.asUintN(8 * width, -1n);

describe("the register frames", () => {
  it("show one engine on both interfaces", () => {
    const rig = new EngineRig();
    rig.set("SCRATCH", 0xdead_beef, 0);
    expect([rig.get("SCRATCH", 1), rig.get("ID", 0), rig.get("ID", 1)]).toEqual([0xdead_beef, 0x31455044, 0x31455044]);
    expect([rig.get("INTERFACE", 0), rig.get("INTERFACE", 1), rig.get("VERSION")]).toEqual([0, 1, 0x10000]);
  });

  it("say what the engine has", () => {
    expect(new EngineRig().get("CAPABILITIES").toString(16)).toBe("10030803");
    expect(new EngineRig({ wired: [1], outstanding: 255 }).get("CAPABILITIES").toString(16)).toBe("1003ff02");
  });

  it("read as at power-on after a reset", () => {
    const rig = new EngineRig();
    const all = Object.keys(registers) as RegisterName[];
    const fresh = all.map((name) => rig.get(name));
    for (const name of all) rig.set(name, name === "CONTROL" ? 0 : -1n);
    expect(all.map((name) => rig.get(name))).not.toEqual(fresh);
    rig.set("CONTROL", 2);
    expect(all.map((name) => rig.get(name))).toEqual(fresh);
    rig.set("SCRATCH", 5);
    rig.frame(1).reset();
    expect(rig.get("SCRATCH")).toBe(0);
  });

  it("ignore writes to what is read-only", () => {
    const rig = new EngineRig();
    const readOnly = Object.entries<Register>(registers).filter(([, { access }]) => access === "RO");
    for (const [name, { offset, width }] of readOnly) {
      const before = rig.get(name as RegisterName);
      rig.frame(0).write(0, offset, width, ones(width));
      expect([name, rig.get(name as RegisterName)]).toEqual([name, before]);
    }
  });

  it("take 64 bits at once or in halves", () => {
    const rig = new EngineRig();
    const { offset } = registers.RING_BASE;
    rig.frame(0).write(0, offset, 8, 0x1234_5678_9abc_def0n);
    expect([rig.frame(1).read(0, offset, 4), rig.frame(1).read(0, offset + 4, 4)]).toEqual([0x9abcdef0n, 0x12345678n]);
    rig.frame(0).write(0, offset + 4, 4, 0xffn);
    expect(rig.frame(0).read(0, offset, 8)).toBe(0xff_9abc_def0n);
    rig.frame(0).write(0, offset, 4, 1n);
    expect(rig.frame(0).read(0, offset, 8)).toBe(0xff_0000_0001n);
  });

  it("read and write neighbours with one access of 8 bytes", () => {
    const rig = new EngineRig();
    expect(rig.frame(0).read(0, registers.ID.offset, 8)).toBe(0x0001_0000_3145_5044n);
    rig.frame(0).write(0, registers.INTERRUPT_STATUS.offset, 8, 0x3_0000_0000n);
    expect(rig.get("INTERRUPT_ENABLE")).toBe(3);
    expect(rig.frame(0).read(0, registers.COMPLETED.offset, 8)).toBe(0n);
  });

  it("have nothing between registers, and nothing for narrow accesses", () => {
    const { frames } = new EngineRig();
    expect([frames[0]!.read(0, 0x14, 4), frames[0]!.read(0, 0xff8, 8)]).toEqual([0n, 0n]);
    frames[0]!.write(0, 0xff8, 8, -1n);
    frames[0]!.write(0, registers.SCRATCH.offset, 1, 0xffn);
    frames[0]!.write(0, registers.SCRATCH.offset, 2, 0xffn);
    const { offset } = registers.SCRATCH;
    expect([1, 2, 4].map((width) => frames[0]!.read(0, offset, width as RegisterWidth))).toEqual([0xffn, 0xffffn, 0n]);
  });

  it("hold the nearest chunk size there is", () => {
    const rig = new EngineRig();
    const sizes = [0, 6, 9, 16, 17, 31, 32].map((log2) => {
      rig.set("STRIPE", log2);
      return rig.get("STRIPE");
    });
    expect(sizes).toEqual([6, 6, 9, 16, 16, 16, 6]);
  });

  it("keep the ring where it is while enabled", () => {
    const rig = new EngineRig().enable();
    rig.set("RING_BASE", 0x2000);
    rig.set("RING_SIZE", 16);
    expect([rig.get("RING_BASE"), rig.get("RING_SIZE")]).toEqual([0x1000, 8]);
  });

  it("tell the time", () => {
    const rig = new EngineRig();
    rig.clock.advance(12.5);
    expect(rig.get("TIME")).toBe(12_500_000);
  });
});

describe("an engine", () => {
  it("is built into one machine, each interface once", () => {
    const { clock, sides } = new FlatMachine();
    const wiring = { clock, dma: sides[0].dma, interrupts: sides[0].pins };
    const kinds = dualPathEngine();
    kinds.function.create(wiring);
    expect(() => kinds.function.create(wiring)).toThrow(/function is built in already/);
    expect(() => kinds.port.create({ ...wiring, clock: new Clock() })).toThrow(/port is built in already/);
  });

  it.each([0, 256, 1.5])("cannot have %s chunks under way", (outstanding) => {
    expect(() => dualPathEngine({ outstanding })).toThrow(
      expect.objectContaining({ code: "ERR_IOSPAN_INVALID_ARGUMENT" }),
    );
  });
});

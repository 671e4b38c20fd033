import { describe, expect, it } from "vitest";
import { operations } from "../../../../src/sim/hw/dual-path-engine/descriptor.js";
import type { ErrorCause } from "../../../../src/sim/hw/dual-path-engine/registers.js";
import { type Asked, EngineRig, RING, SOURCE, TARGET } from "./rig.js";

const BOTH = [0, 1] as const;
const ON_FUNCTION = 1;
const ON_PORT = 2;
const bit = (cause: number) => 1 << cause;
const READ_FAULT = bit(0);
const WRITE_FAULT = bit(1);

describe("a fault", () => {
  it("while reading says where, and on which interface", () => {
    const rig = new EngineRig().enable();
    rig.side(1).table.unmap(SOURCE + 3 * 4096, 4096);
    const job = rig.run({ via: BOTH, length: 8 * 4096 });
    expect(job).toMatchObject({ done: true, error: "READ_FAULT", via: ON_PORT, address: SOURCE + 3 * 4096 });
    expect(job.bytes).toBeLessThan(8 * 4096);
    expect(rig.get("ERROR_STATUS")).toBe(READ_FAULT | (1 << 9));
    expect(rig.get("ERROR_ADDRESS")).toBe(SOURCE + 3 * 4096);
    expect(rig.bytes(TARGET + 3 * 4096, 4096).every((byte) => byte === 0)).toBe(true);
  });

  it("while writing says the same", () => {
    const rig = new EngineRig().enable();
    rig.side(0).table.readOnly.add(TARGET + 4096);
    rig.set("STRIPE", 14);
    rig.run();
    expect(rig.run({ length: 0x4000 })).toMatchObject({
      error: "WRITE_FAULT",
      via: ON_FUNCTION,
      address: TARGET + 4096,
      bytes: 0,
    });
    expect(rig.get("ERROR_STATUS")).toBe((WRITE_FAULT | (1 << 8) | (1 << 16)) >>> 0);
  });

  it("names the first byte in a page that is not mapped, wherever it begins", () => {
    const rig = new EngineRig().enable();
    rig.side(0).table.unmap(SOURCE, 4096);
    expect(rig.run({ source: SOURCE + 24, length: 8 })).toMatchObject({ address: SOURCE + 24 });
  });

  it("stops the ring until it is cleared", () => {
    const rig = new EngineRig().enable();
    const second = [rig.put({ source: 0x20_0000 }), rig.put({ destination: TARGET + 4096 })][1]!;
    rig.ring();
    rig.settle();
    expect([rig.get("STATUS"), rig.get("HEAD"), rig.completed(second).done]).toEqual([2, 1, false]);
    rig.set("ERROR_STATUS", WRITE_FAULT);
    rig.settle();
    expect(rig.completed(second).done).toBe(false);
    rig.set("ERROR_STATUS", READ_FAULT);
    rig.settle();
    expect([rig.get("STATUS"), rig.get("ERROR_STATUS"), rig.get("ERROR_ADDRESS"), rig.get("HEAD")]).toEqual([
      0, 0, 0, 2,
    ]);
    expect(rig.completed(second)).toMatchObject({ done: true, error: undefined });
  });

  it("lets what was sent arrive before the descriptor is completed, and nothing after", () => {
    const rig = new EngineRig({ links: [{ bandwidth: 1e9, latency: 5000 }, { bandwidth: 8e9 }] }).enable();
    rig.side(1).table.unmap(SOURCE + 5 * 4096, 4096);
    const index = rig.submit({ via: BOTH, length: 16 * 4096 });
    while (!rig.completed(index).done) rig.clock.step();
    const after = rig.bytes(TARGET, 16 * 4096);
    rig.settle();
    expect(rig.bytes(TARGET, 16 * 4096).equals(after)).toBe(true);
    const pages = Array.from({ length: 16 }, (_, page) => after.subarray(page * 4096, (page + 1) * 4096));
    const written = pages.filter((page) => page.some((byte) => byte !== 0)).length * 4096;
    expect(rig.completed(index)).toMatchObject({ error: "READ_FAULT", bytes: written });
  });

  it("lets no chunk begin, and sends nothing that was read", () => {
    const rig = new EngineRig({ outstanding: 4, links: [{ bandwidth: 1e9, latency: 100 }] }).enable();
    rig.side(0).table.unmap(SOURCE, 4096);
    expect(rig.run({ length: 32 * 4096 })).toMatchObject({ error: "READ_FAULT", bytes: 0, address: SOURCE });
    const touched = rig.memory.accesses.filter((access) => access.endsWith("+4096"));
    expect(touched).toEqual([1, 2, 3].map((chunk) => `r ${SOURCE + chunk * 4096}+4096`));
  });

  it("stops the other interface, too", () => {
    const link = { bandwidth: 1e9, latency: 100 };
    const rig = new EngineRig({ outstanding: 1, links: [link, link] }).enable();
    rig.side(1).table.unmap(TARGET + 3 * 4096, 4096);
    const { bytes } = rig.run({ operation: operations.FILL, pattern: 1n, via: BOTH, length: 32 * 4096 });
    // When the port's second chunk failed, two were written through the function and the third was under way.
    expect([bytes, rig.get("FUNCTION_BYTES"), rig.get("PORT_BYTES")]).toEqual([4 * 4096, 3 * 4096, 4096]);
  });

  it("is one event for each page that was tried", () => {
    const rig = new EngineRig().enable();
    rig.side(0).table.unmap(SOURCE, 4 * 4096);
    rig.run({ length: 4096 });
    expect(rig.side(0).table.events).toEqual([`r 0x${SOURCE.toString(16)}`]);
  });

  it("while fetching leaves HEAD where it is", () => {
    const rig = new EngineRig().enable();
    const index = rig.put();
    rig.side(0).table.unmap(RING, 4096);
    rig.ring();
    rig.settle();
    expect([rig.get("ERROR_STATUS"), rig.get("ERROR_ADDRESS"), rig.get("HEAD")]).toEqual([bit(2) | (1 << 8), RING, 0]);
    rig.side(0).table.map(RING, 4096);
    rig.set("ERROR_STATUS", bit(2));
    rig.settle();
    expect(rig.completed(index).done).toBe(true);
  });

  it("while writing a completion leaves HEAD where it is, too", () => {
    const rig = new EngineRig().enable();
    rig.side(0).table.readOnly.add(RING);
    const index = rig.submit();
    rig.settle();
    expect([rig.get("ERROR_STATUS"), rig.get("HEAD"), rig.get("COMPLETED")]).toEqual([bit(3) | (1 << 8), 0, 0]);
    expect(rig.completed(index).done).toBe(false);
  });

  it("keeps the facts of the first when others follow", () => {
    const rig = new EngineRig().enable();
    rig.run({ source: 0x20_0000 });
    rig.set("TAIL", 99);
    expect([rig.get("ERROR_STATUS"), rig.get("ERROR_ADDRESS")]).toEqual([READ_FAULT | bit(7) | (1 << 8), 0x20_0000]);
  });
});

describe("without bus mastering", () => {
  it("the function's chunks fail, and the port's do not", () => {
    const rig = new EngineRig().enable(1 << 4);
    rig.side(0).master = false;
    expect(rig.run({ via: [1] })).toMatchObject({ done: true, error: undefined });
    expect(rig.run({ via: BOTH, length: 8192 })).toMatchObject({
      error: "READ_FAULT",
      via: ON_FUNCTION,
      address: SOURCE,
    });
    expect(rig.side(0).table.events).toEqual([]);
  });

  it("a ring behind the function is not reached", () => {
    const rig = new EngineRig().enable();
    rig.side(0).master = false;
    rig.submit({ via: [1] });
    rig.settle();
    expect(rig.get("ERROR_STATUS") & 0xff).toBe(bit(2));
  });
});

describe("a descriptor that is wrong", () => {
  const wrong: readonly (readonly [string, Asked, ErrorCause, number])[] = [
    ["with no length", { length: 0 }, "BAD_LENGTH", 0],
    ["beyond the last address", { source: 2n ** 64n - 8n, length: 16 }, "BAD_LENGTH", 2 ** 64],
    ["with an odd length", { length: 12 }, "BAD_ALIGNMENT", 0],
    ["from an odd address", { source: SOURCE + 4 }, "BAD_ALIGNMENT", SOURCE + 4],
    ["to an odd address", { destination: TARGET + 1 }, "BAD_ALIGNMENT", TARGET + 1],
    ["with no operation", { operation: 0 }, "BAD_DESCRIPTOR", 0],
    ["with an unknown operation", { operation: 3 }, "BAD_DESCRIPTOR", 0],
    ["through no interface", { via: [] }, "BAD_DESCRIPTOR", 0],
    ["with an unknown flag", { flags: 1 << 12 }, "BAD_DESCRIPTOR", 0],
    ["that is completed already", { flags: 1 << 31 }, "BAD_DESCRIPTOR", 0],
  ];

  it.each(wrong)("%s is completed in error", (_what, asked, error, address) => {
    const rig = new EngineRig().enable();
    const before = rig.bytes(TARGET, 8192);
    expect(rig.run(asked)).toMatchObject({ done: true, error, via: 0, bytes: 0, address });
    expect([rig.get("STATUS"), rig.get("HEAD"), rig.get("ERROR_ADDRESS")]).toEqual([2, 1, address]);
    expect(rig.bytes(TARGET, 8192).equals(before)).toBe(true);
  });

  it("at the last address there is, is not wrong", () => {
    const rig = new EngineRig().enable();
    // 2^64 itself is the end: nothing is mapped there, which is a fault and no mistake.
    expect(rig.run({ source: 2n ** 64n - 16n, length: 16 })).toMatchObject({ error: "READ_FAULT" });
  });
});

describe("a reset", () => {
  const reset = {
    "by CONTROL": (rig: EngineRig) => rig.set("CONTROL", 2, 1),
    "of the function": (rig: EngineRig) => rig.frame(0).reset(),
    "of the port": (rig: EngineRig) => rig.frame(1).reset(),
  };

  it.each(Object.entries(reset))("%s in flight leaves no later write", (_how, act) => {
    // Before every step that the job takes.
    for (let step = 0; step < 60; step++) {
      const rig = new EngineRig({ links: [{ bandwidth: 1e9, latency: 100 }, { bandwidth: 2e9 }] }).enable();
      rig.set("INTERRUPT_ENABLE", 3);
      rig.submit({ via: BOTH, length: 0x4000, interrupt: true });
      for (let taken = 0; taken < step; taken++) rig.clock.step();
      act(rig);
      const after = rig.bytes(0, 2 ** 20);
      rig.settle();
      expect(rig.bytes(0, 2 ** 20).equals(after)).toBe(true);
      expect([rig.get("STATUS"), rig.get("CONTROL"), rig.get("HEAD"), rig.get("TAIL")]).toEqual([0, 0, 0, 0]);
      expect([rig.side(0).pins.level, rig.get("INTERRUPT_STATUS"), rig.get("FUNCTION_BYTES")]).toEqual([false, 0, 0]);
    }
  });

  it("that the engine's own DMA does, is one", () => {
    const rig = new EngineRig().enable();
    // The destination is the engine's CONTROL register.
    const { dma } = rig.side(0);
    const write = dma.writeTimed.bind(dma);
    dma.writeTimed = (address, from) => {
      if (address === BigInt(TARGET)) rig.set("CONTROL", 2);
      return write(address, from);
    };
    rig.submit({ length: 0x4000, interrupt: true });
    rig.settle();
    expect([rig.get("STATUS"), rig.get("COMPLETED"), rig.get("FUNCTION_BYTES"), rig.get("HEAD")]).toEqual([0, 0, 0, 0]);
  });

  it("leaves an engine that works", () => {
    const rig = new EngineRig({ links: [{ bandwidth: 1e9, latency: 100 }] }).enable();
    rig.submit({ length: 0x4000 });
    rig.clock.step();
    rig.set("CONTROL", 2);
    rig.settle();
    rig.enable();
    // The driver begins anew, at the ring's first descriptor, which still says what it said.
    rig.set("TAIL", 1);
    rig.settle();
    expect([rig.get("COMPLETED"), rig.completed(0).bytes]).toEqual([1, 0x4000]);
  });
});

describe("a ring", () => {
  const BAD_RING = bit(7);

  it("stays what it is until the descriptor that is under way is completed", () => {
    const rig = new EngineRig().enable();
    const index = rig.submit({ length: 0x10000 });
    rig.set("CONTROL", 0);
    expect(rig.get("STATUS")).toBe(1);
    rig.set("RING_SIZE", 0);
    rig.set("RING_BASE", 0x8000);
    rig.settle();
    expect([rig.get("HEAD"), rig.get("RING_SIZE"), rig.get("RING_BASE"), rig.get("STATUS")]).toEqual([1, 8, RING, 0]);
    expect(rig.completed(index)).toMatchObject({ done: true, error: undefined });
    rig.set("RING_SIZE", 4);
    rig.set("RING_BASE", 0x8000);
    expect([rig.get("RING_SIZE"), rig.get("RING_BASE")]).toEqual([4, 0x8000]);
  });

  it("cannot become smaller than HEAD", () => {
    const rig = new EngineRig().enable();
    for (let job = 0; job < 5; job++) rig.run();
    rig.set("CONTROL", 0);
    rig.set("RING_SIZE", 4);
    rig.set("TAIL", 0);
    rig.set("CONTROL", 1);
    expect([rig.get("CONTROL"), rig.get("ERROR_STATUS") & 0xff, rig.get("HEAD")]).toEqual([0, BAD_RING, 5]);
    rig.set("CONTROL", 2);
    rig.enable();
    expect([rig.get("CONTROL"), rig.get("ERROR_STATUS")]).toEqual([1, 0]);
  });

  it("cannot become smaller than TAIL", () => {
    const rig = new EngineRig();
    rig.enable().set("TAIL", 0);
    rig.set("CONTROL", 0);
    rig.set("TAIL", 6);
    rig.set("RING_SIZE", 4);
    rig.set("CONTROL", 1);
    expect([rig.get("CONTROL"), rig.get("ERROR_STATUS") & 0xff, rig.get("STATUS")]).toEqual([0, BAD_RING, 2]);
  });
});

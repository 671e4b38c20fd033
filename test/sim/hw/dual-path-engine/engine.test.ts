import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { operations } from "../../../../src/sim/hw/dual-path-engine/descriptor.js";
import { EngineRig, type EngineRigOptions, RING, SOURCE, TARGET } from "./rig.js";

const DONE = 1;
const ERROR = 2;
const BOTH = [0, 1] as const;
const MiB = 2 ** 20;

describe("a job", () => {
  it("copies memory and says when", () => {
    const rig = new EngineRig({ links: [{ bandwidth: 1e9, latency: 100 }] }).enable();
    const job = rig.run({ length: 8192 });
    expect(job).toMatchObject({ done: true, error: undefined, bytes: 8192, address: 0 });
    expect(rig.bytes(TARGET, 8192).equals(rig.bytes(SOURCE, 8192))).toBe(true);
    // The descriptor of 32 bytes, then the last chunk's read and write.
    expect(job.started).toBe(32 + 100);
    expect(job.finished - job.started).toBe(8192 + 100 + 4096 + 100);
    expect([rig.get("HEAD"), rig.get("COMPLETED"), rig.get("STATUS")]).toEqual([1, 1, 0]);
  });

  it("fills memory with a pattern of 8 bytes", () => {
    const rig = new EngineRig().enable();
    expect(rig.run({ operation: operations.FILL, length: 72, pattern: 0x0102_0304_0506_0708n })).toMatchObject({
      done: true,
      bytes: 72,
    });
    expect([...rig.bytes(TARGET, 8)]).toEqual([8, 7, 6, 5, 4, 3, 2, 1]);
    expect(rig.bytes(TARGET + 64, 16).toString("hex")).toBe("08070605040302010000000000000000");
    // A source is not looked at.
    expect(rig.run({ operation: operations.FILL, source: 3, length: 8 })).toMatchObject({ error: undefined });
  });

  it("goes through the interfaces it names, chunk by chunk", () => {
    const carried = (via: readonly (0 | 1)[], length: number) => {
      const rig = new EngineRig().enable();
      rig.run({ via, length });
      expect(rig.bytes(TARGET, length).equals(rig.bytes(SOURCE, length))).toBe(true);
      return [rig.get("FUNCTION_BYTES"), rig.get("PORT_BYTES")];
    };
    expect(carried([0], 10_000)).toEqual([10_000, 0]);
    expect(carried([1], 10_000)).toEqual([0, 10_000]);
    expect(carried(BOTH, 10_000)).toEqual([4096 + 1808, 4096]);
    expect(carried(BOTH, 8)).toEqual([8, 0]);
  });

  it("uses each interface's own translations", () => {
    const rig = new EngineRig().enable();
    // The port sees the source a page further on.
    rig.side(1).table.map(SOURCE, MiB / 4, 4096);
    rig.run({ via: BOTH, length: 4 * 4096 });
    const wanted = [0, 2, 2, 4].map((page) => rig.bytes(SOURCE + page * 4096, 4096));
    expect(rig.bytes(TARGET, 4 * 4096).equals(Buffer.concat(wanted))).toBe(true);
  });

  it("copies whatever range in whatever chunks", () => {
    const jobs = fc.record({
      length: fc.integer({ min: 1, max: 4000 }).map((words) => words * 8),
      source: fc.nat(1000).map((words) => SOURCE + words * 8),
      destination: fc.nat(1000).map((words) => TARGET + words * 8),
      via: fc.constantFrom<readonly (0 | 1)[]>([0], [1], [0, 1]),
      stripe: fc.integer({ min: 6, max: 16 }),
      outstanding: fc.integer({ min: 1, max: 9 }),
    });
    fc.assert(
      fc.property(jobs, ({ stripe, outstanding, ...job }) => {
        const rig = new EngineRig({ outstanding, links: [{ bandwidth: 3e9, latency: 70 }, { bandwidth: 1e9 }] });
        rig.set("STRIPE", stripe);
        rig.enable();
        const before = rig.bytes(0, MiB);
        before.set(rig.bytes(job.source, job.length), job.destination);
        expect(rig.run(job)).toMatchObject({ done: true, error: undefined, bytes: job.length });
        // Nothing but the destination and the descriptor has changed.
        before.set(rig.bytes(RING, 32), RING);
        expect(rig.bytes(0, MiB).equals(before)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });
});

describe("both interfaces at once", () => {
  const length = 0x40000;
  const elapsed = (via: readonly (0 | 1)[], options: EngineRigOptions) => {
    const rig = new EngineRig(options).enable();
    const { started, finished } = rig.run({ via, length });
    return finished - started;
  };
  const links = [
    { bandwidth: 4e9, latency: 400 },
    { bandwidth: 4e9, latency: 400 },
  ];

  it("take half the time of one", () => {
    const ratio = elapsed([0], { links }) / elapsed(BOTH, { links });
    expect(ratio).toBeGreaterThan(1.9);
    expect(ratio).toBeLessThanOrEqual(2);
  });

  it("fill a link's bandwidth", () => {
    const atBandwidth = (length / 4e9) * 1e9;
    expect(elapsed([1], { links }) / atBandwidth).toBeLessThan(1.1);
    // With one chunk under way at a time each pays for the latency.
    expect(elapsed([1], { links, outstanding: 1 }) / atBandwidth).toBeGreaterThan(2);
  });

  it("gain nothing where memory is the limit", () => {
    const options = { links, memoryBandwidth: 4e9 };
    expect(elapsed([0], options) / elapsed(BOTH, options)).toBeLessThan(1.05);
  });

  it("pay for table walks", () => {
    const walking = { links, walk: 4, walkLatency: 200 };
    expect(elapsed(BOTH, walking)).toBeGreaterThan(elapsed(BOTH, { links }));
  });

  it("take the same time every time", () => {
    const options = { links, memoryBandwidth: 5e9, walk: 3, walkLatency: 33 };
    expect(elapsed(BOTH, options)).toBe(elapsed(BOTH, options));
  });
});

describe("the ring", () => {
  it("is executed in order, over its end", () => {
    const rig = new EngineRig().enable();
    const order: number[] = [];
    for (let round = 0; round < 20; round++) {
      const index = rig.submit({ source: SOURCE + round * 64, destination: TARGET, length: 64 });
      rig.settle();
      order.push(index);
      expect(rig.bytes(TARGET, 64).equals(rig.bytes(SOURCE + round * 64, 64))).toBe(true);
    }
    expect(order.slice(6, 10)).toEqual([6, 7, 0, 1]);
    expect([rig.get("HEAD"), rig.get("COMPLETED")]).toEqual([4, 20]);
  });

  it("takes many at a time, each finished before the next begins", () => {
    const rig = new EngineRig({ links: [{ bandwidth: 1e9, latency: 10 }] }).enable();
    const indexes = [0, 1, 2, 3, 4, 5, 6].map((at) => rig.put({ destination: TARGET + at * 8, length: 8 }));
    rig.ring();
    rig.settle();
    const jobs = indexes.map((index) => rig.completed(index));
    expect(jobs.every(({ done }) => done)).toBe(true);
    for (const [at, job] of jobs.slice(1).entries()) expect(job.started).toBeGreaterThan(jobs[at]!.finished);
  });

  it("waits for ENABLE, and stops after the descriptor under way when it is cleared", () => {
    const rig = new EngineRig({ links: [{ bandwidth: 1e9 }] });
    rig.set("RING_BASE", RING);
    rig.set("RING_SIZE", 8);
    const first = rig.put();
    const second = rig.put();
    rig.ring();
    rig.settle();
    expect(rig.completed(first).done).toBe(false);
    rig.set("CONTROL", 1);
    expect(rig.get("STATUS")).toBe(1);
    rig.set("CONTROL", 0);
    rig.settle();
    expect([rig.completed(first).done, rig.completed(second).done, rig.get("STATUS")]).toEqual([true, false, 0]);
    rig.set("CONTROL", 1);
    rig.settle();
    expect(rig.completed(second).done).toBe(true);
  });

  it("stops after the descriptor that is marked as the last", () => {
    const rig = new EngineRig().enable();
    rig.put({ last: true });
    const second = rig.put();
    rig.ring();
    rig.settle();
    expect([rig.get("HEAD"), rig.get("CONTROL"), rig.completed(second).done]).toEqual([1, 0, false]);
  });

  it("is reached through the interface it is told", () => {
    const rig = new EngineRig();
    rig.side(0).table.unmap(RING, 4096);
    rig.enable(1 << 4);
    expect(rig.get("CONTROL")).toBe(0x11);
    expect(rig.run({ via: [0] })).toMatchObject({ done: true, error: undefined });
  });

  it("works with one interface alone", () => {
    const rig = new EngineRig({ wired: [1] }).enable(1 << 4);
    expect(rig.run({ via: [1] })).toMatchObject({ done: true, error: undefined });
    expect(rig.run({ via: [0] })).toMatchObject({ error: "BAD_DESCRIPTOR" });
    const other = new EngineRig({ wired: [1] }).enable();
    other.submit();
    other.settle();
    expect(other.get("ERROR_STATUS") & 0x80).toBe(0x80);
  });

  it.each([
    ["no size", RING, 0],
    ["a size that is no power of two", RING, 6],
    ["one descriptor", RING, 1],
    ["too many descriptors", RING, 2 ** 17],
    ["an address that is not aligned", RING + 8, 8],
  ])("is refused with %s", (_what, base, size) => {
    const rig = new EngineRig();
    rig.set("RING_BASE", base);
    rig.set("RING_SIZE", size);
    rig.set("CONTROL", 1);
    expect([rig.get("CONTROL"), rig.get("STATUS"), rig.get("ERROR_STATUS")]).toEqual([0, 2, 0x80]);
    expect(rig.get("ERROR_ADDRESS")).toBe(base);
  });

  it("refuses a doorbell beyond its end", () => {
    const rig = new EngineRig().enable();
    rig.set("TAIL", 8);
    expect([rig.get("ERROR_STATUS"), rig.get("TAIL"), rig.get("STATUS")]).toEqual([0x80, 0, 2]);
  });
});

describe("polling", () => {
  it.each(["STATUS", "HEAD", "INTERRUPT_STATUS", "TIME"] as const)("%s ends, since time passes", (name) => {
    const rig = new EngineRig({ links: [{ bandwidth: 1e9, latency: 50 }] }).enable();
    const index = rig.submit({ interrupt: true });
    const first = rig.get(name);
    let reads = 0;
    while (!rig.completed(index).done && reads < 100) {
      rig.get(name);
      reads += 1;
    }
    expect(rig.completed(index).done).toBe(true);
    expect([0, 1]).toContain(name === "TIME" ? 0 : first);
  });

  it("does not make time pass while nothing is under way", () => {
    const rig = new EngineRig().enable();
    rig.clock.after(5, () => {});
    for (let read = 0; read < 3; read++) rig.get("STATUS");
    expect(rig.get("TIME")).toBe(0);
  });
});

describe("interrupts", () => {
  it("hold the wire until they are acknowledged, each interface's its own", () => {
    const rig = new EngineRig().enable();
    rig.set("INTERRUPT_ENABLE", DONE, 1);
    rig.run({ interrupt: true });
    expect([rig.side(0).pins.level, rig.side(1).pins.level]).toEqual([false, true]);
    expect([rig.get("INTERRUPT_STATUS", 0), rig.get("INTERRUPT_STATUS", 1)]).toEqual([DONE, DONE]);
    rig.set("INTERRUPT_STATUS", ERROR, 1);
    expect(rig.side(1).pins.level).toBe(true);
    rig.set("INTERRUPT_STATUS", DONE, 1);
    expect([rig.side(1).pins.level, rig.get("INTERRUPT_STATUS", 0)]).toEqual([false, DONE]);
    rig.set("INTERRUPT_ENABLE", DONE, 0);
    expect(rig.side(0).pins.level).toBe(true);
  });

  it("come only if the descriptor asks", () => {
    const rig = new EngineRig().enable();
    rig.set("INTERRUPT_ENABLE", DONE);
    rig.run();
    expect([rig.side(0).pins.level, rig.get("INTERRUPT_STATUS")]).toEqual([false, 0]);
  });

  it("are messages with MSI: one for each news, and one for what is left", () => {
    const rig = new EngineRig().enable();
    const { pins } = rig.side(0);
    pins.msiEnabled = true;
    rig.set("INTERRUPT_ENABLE", DONE | ERROR);
    rig.run({ interrupt: true });
    expect([pins.messages, pins.level]).toEqual([1, false]);
    rig.run({ interrupt: true });
    expect(pins.messages).toBe(1);
    rig.run({ length: 0 });
    expect(pins.messages).toBe(2);
    rig.set("INTERRUPT_STATUS", DONE);
    expect(pins.messages).toBe(3);
    rig.set("INTERRUPT_STATUS", ERROR);
    expect(pins.messages).toBe(3);
  });

  it("tell of errors, asked or not", () => {
    const rig = new EngineRig().enable();
    rig.set("INTERRUPT_ENABLE", ERROR);
    rig.run({ length: 0 });
    expect([rig.side(0).pins.level, rig.get("INTERRUPT_STATUS")]).toEqual([true, ERROR]);
  });
});

import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { Clock } from "../../../src/sim/hw/clock.js";

describe("the simulation's clock", () => {
  it("goes on when something is due, and not otherwise", () => {
    const clock = new Clock();
    const seen: number[] = [];
    clock.after(100, () => seen.push(clock.now));
    clock.after(0.5, () => seen.push(clock.nanoseconds));
    expect([clock.now, clock.step(), clock.step(), clock.step()]).toEqual([0, true, true, false]);
    expect(seen).toEqual([500_000, 100]);
    expect(clock.now).toBe(100);
  });

  it("does what is due in order of time, and of asking where that is the same", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20)), (delays) => {
        const clock = new Clock();
        const done: { readonly delay: number; readonly order: number }[] = [];
        for (const [order, delay] of delays.entries()) clock.at(delay, () => done.push({ delay, order }));
        while (clock.step());
        const wanted = delays.map((delay, order) => ({ delay, order }));
        expect(done).toEqual(wanted.sort((a, b) => a.delay - b.delay || a.order - b.order));
      }),
    );
  });

  it("takes what is late for due now", () => {
    const clock = new Clock();
    clock.advance(3);
    const seen: number[] = [];
    clock.at(1, () => seen.push(clock.now));
    clock.step();
    expect(seen).toEqual([3]);
  });

  it("advances over what falls due, and no further", () => {
    const clock = new Clock();
    const seen: number[] = [];
    clock.after(1, () => clock.after(1, () => seen.push(clock.now)));
    clock.after(5, () => seen.push(clock.now));
    clock.advance(4);
    expect([seen, clock.now]).toEqual([[2], 4]);
  });

  it("does not go back when a callback steps further", () => {
    const clock = new Clock();
    const seen: number[] = [];
    clock.after(1, () => void clock.step());
    clock.after(10, () => seen.push(clock.now));
    clock.advance(2);
    expect([seen, clock.now]).toEqual([[10], 10]);
  });

  it.each([-3, Number.NaN, Number.POSITIVE_INFINITY])("does not advance by %s", (milliseconds) => {
    const clock = new Clock();
    clock.advance(5);
    expect(() => clock.advance(milliseconds)).toThrow(expect.objectContaining({ code: "ERR_IOSPAN_INVALID_ARGUMENT" }));
    expect(clock.now).toBe(5);
  });

  it("goes on by itself while the program waits", async () => {
    const clock = new Clock();
    const seen: number[] = [];
    clock.after(7, () => clock.after(7, () => seen.push(clock.now)));
    expect(seen).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve));
    expect(seen).toEqual([14]);
  });

  it("lets the event loop turn although something is always due", async () => {
    const clock = new Clock();
    let going = true;
    const tick = () => {
      if (going) clock.after(1, tick);
    };
    tick();
    await new Promise((resolve) => setTimeout(resolve));
    going = false;
    expect(clock.now).toBeGreaterThan(1000);
  });

  it("goes on after something threw", () => {
    const queued: (() => void)[] = [];
    const spy = vi.spyOn(globalThis, "queueMicrotask").mockImplementation((task) => void queued.push(task));
    try {
      const clock = new Clock();
      const seen: number[] = [];
      clock.after(1, () => {
        throw new Error("boom");
      });
      clock.after(2, () => seen.push(clock.now));
      expect(() => queued.shift()?.()).toThrow("boom");
      queued.shift()?.();
      expect([seen, queued]).toEqual([[2], []]);
    } finally {
      spy.mockRestore();
    }
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])("refuses a delay of %s", (delay) => {
    expect(() => new Clock().after(delay, () => {})).toThrow(
      expect.objectContaining({ code: "ERR_IOSPAN_INVALID_ARGUMENT" }),
    );
  });
});

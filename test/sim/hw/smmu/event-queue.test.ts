import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeEvent } from "../../../../src/sim/hw/smmu/events.js";
import { registers } from "../../../../src/sim/hw/smmu/registers.js";
import { EVENTS_LOG2, Rig } from "./rig.js";

const { EVENTQ_PROD, EVENTQ_CONS, EVENTQ_BASE, GERROR, GERRORN, IRQ_CTRL } = registers;
const CAPACITY = 2 ** EVENTS_LOG2;

/** Makes an event that is told by its StreamID. */
function provoke(rig: Rig, streamId: number): void {
  rig.read(0, 2 ** 10 + streamId);
}

function producer(rig: Rig) {
  return EVENTQ_PROD.decode(rig.smmu.read32(EVENTQ_PROD.offset));
}

describe("event queue", () => {
  it("delivers in order, loses what has no room, says so once, and interrupts when it was empty", () => {
    const steps = fc.array(fc.oneof(fc.record({ provoke: fc.nat(12) }), fc.record({ consume: fc.nat(12) })), {
      maxLength: 40,
    });
    fc.assert(
      fc.property(steps, (all) => {
        const rig = new Rig();
        let next = 0;
        let waiting: number[] = [];
        let [read, lost, interrupts, overflowed, flag] = [0, 0, 0, false, 0];
        for (const step of all) {
          if ("provoke" in step) {
            for (let i = 0; i < step.provoke; i++) {
              if (waiting.length === 0) interrupts++;
              if (waiting.length < CAPACITY) {
                waiting.push(next);
              } else {
                lost++;
                if (!overflowed) flag = 1 - flag;
                overflowed = true;
              }
              provoke(rig, next++);
            }
            expect(producer(rig)).toEqual({ WR: (read + waiting.length) % (2 * CAPACITY), OVFLG: flag });
            continue;
          }
          const count = Math.min(step.consume, waiting.length);
          const bytes = new Uint8Array(32);
          for (let i = 0; i < count; i++) {
            rig.memory.read(rig.eventQueue + ((read + i) % CAPACITY) * 32, bytes);
            expect(decodeEvent(bytes)).toMatchObject({ name: "C_BAD_STREAMID", streamId: 2 ** 10 + waiting[i]! });
          }
          waiting = waiting.slice(count);
          read += count;
          const OVACKFLG = count > 0 ? flag : Number(EVENTQ_CONS.decode(rig.smmu.read32(EVENTQ_CONS.offset)).OVACKFLG);
          if (count > 0) overflowed = false;
          rig.smmu.write32(EVENTQ_CONS.offset, EVENTQ_CONS.encode({ RD: read % (2 * CAPACITY), OVACKFLG }));
        }
        expect(rig.smmu.counters).toMatchObject({ events: next - lost, lostEvents: lost });
        expect(rig.interrupts).toEqual(new Array(interrupts).fill("eventq"));
      }),
      { numRuns: 100 },
    );
  });

  it("is the same through both register pages", () => {
    const rig = new Rig();
    provoke(rig, 1);
    expect(rig.smmu.read32(0x100a8)).toBe(1);
    expect(rig.smmu.read32(0xa8)).toBe(1);
    rig.smmu.write32(0xac, 1);
    expect(rig.smmu.read32(0x100ac)).toBe(1);
  });

  it("loses events without an overflow while it is disabled", () => {
    const rig = new Rig();
    rig.smmu.write32(registers.CR0.offset, registers.CR0.encode({ SMMUEN: 1, CMDQEN: 1 }));
    for (let i = 0; i < 20; i++) provoke(rig, i);
    expect(producer(rig)).toEqual({ WR: 0, OVFLG: 0 });
    expect(rig.smmu.counters).toMatchObject({ events: 0, lostEvents: 20 });
  });

  it("interrupts only where it may", () => {
    const rig = new Rig();
    rig.smmu.write32(IRQ_CTRL.offset, 0);
    provoke(rig, 1);
    expect(rig.interrupts).toEqual([]);
    expect(rig.eventNames()).toEqual(["C_BAD_STREAMID"]);
  });

  it("interrupts by a message", () => {
    const rig = new Rig();
    const doorbell = rig.memory.reserve(64)!;
    const { EVENTQ_IRQ_CFG0, EVENTQ_IRQ_CFG1 } = registers;
    // Not while interrupts are enabled.
    rig.smmu.write64(EVENTQ_IRQ_CFG0.offset, BigInt(doorbell));
    expect(rig.smmu.read64(EVENTQ_IRQ_CFG0.offset)).toBe(0n);
    rig.smmu.write32(IRQ_CTRL.offset, 0);
    rig.smmu.write64(EVENTQ_IRQ_CFG0.offset, BigInt(doorbell));
    rig.smmu.write32(EVENTQ_IRQ_CFG1.offset, 77);
    rig.smmu.write32(IRQ_CTRL.offset, IRQ_CTRL.encode({ EVENTQ_IRQEN: 1 }));
    provoke(rig, 1);
    expect(rig.memory.read32(doorbell)).toBe(77);
  });

  it("stops where memory does not answer, until that is acknowledged", () => {
    const rig = new Rig();
    const move = (address: number) => {
      rig.disable();
      rig.smmu.write64(EVENTQ_BASE.offset, EVENTQ_BASE.encode({ ADDR: address, LOG2SIZE: EVENTS_LOG2 }));
      rig.enable();
    };
    move(0x3000_0000);
    provoke(rig, 1);
    expect(producer(rig).WR).toBe(0);
    const active = () => GERROR.decode(rig.smmu.read32(GERROR.offset) ^ rig.smmu.read32(GERRORN.offset));
    expect(active()).toMatchObject({ EVENTQ_ABT_ERR: 1 });
    expect(rig.interrupts).toEqual(["gerror"]);
    move(rig.eventQueue);
    provoke(rig, 2);
    expect(producer(rig).WR).toBe(0);
    rig.smmu.write32(GERRORN.offset, rig.smmu.read32(GERROR.offset));
    provoke(rig, 3);
    expect(rig.events()).toMatchObject([{ streamId: 2 ** 10 + 3 }]);
    expect(rig.smmu.counters).toMatchObject({ events: 1, lostEvents: 2 });
  });

  it("may have one entry", () => {
    const rig = new Rig();
    rig.disable();
    rig.smmu.write64(EVENTQ_BASE.offset, EVENTQ_BASE.encode({ ADDR: rig.eventQueue, LOG2SIZE: 0 }));
    rig.enable();
    provoke(rig, 1);
    provoke(rig, 2);
    expect(producer(rig)).toEqual({ WR: 1, OVFLG: 1 });
    rig.smmu.write32(EVENTQ_CONS.offset, EVENTQ_CONS.encode({ RD: 1, OVACKFLG: 1 }));
    provoke(rig, 3);
    expect(producer(rig)).toEqual({ WR: 0, OVFLG: 1 });
  });
});

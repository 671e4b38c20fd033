import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OperationGate } from "../../src/space/operation-gate.js";
import { errorOf, rejectionOf } from "../support/errors.js";

/** An operation that ends when it is told to. */
function held() {
  let end = () => {};
  let fail = (_: Error) => {};
  const until = new Promise<void>((resolve, reject) => {
    end = resolve;
    fail = reject;
  });
  return { operation: () => until, end: () => end(), fail: (error: Error) => fail(error) };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

interface Wish {
  readonly alone: boolean;
  readonly fails: boolean;
}

const wishes = fc.array(fc.record({ alone: fc.boolean(), fails: fc.boolean() }), { minLength: 1, maxLength: 12 });

describe("OperationGate under any scheduling", () => {
  it("keeps alone operations alone, starts all in the order they came, and lets none starve", async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), wishes, async (scheduler, list: readonly Wish[]) => {
        const gate = new OperationGate();
        const running = new Map<number, Wish>();
        const started: number[] = [];
        const operation = (index: number, wish: Wish) => async () => {
          for (const other of running.values()) expect(other.alone || wish.alone).toBe(false);
          running.set(index, wish);
          started.push(index);
          expect(gate.idle).toBe(false);
          if (wish.alone) expect(errorOf(() => gate.now("map", () => 1)).code).toBe("ERR_IOSPAN_BUSY");
          else expect(gate.now("map", () => 1)).toBe(1);
          await scheduler.schedule(Promise.resolve(), `operation ${index}`);
          running.delete(index);
          if (wish.fails) throw new Error(`${index}`);
          return index;
        };
        const arrived: number[] = [];
        const results = list.map(async (wish, index) => {
          await scheduler.schedule(Promise.resolve(), `arrival ${index}`);
          arrived.push(index);
          return gate[wish.alone ? "alone" : "shared"](operation(index, wish));
        });
        const settled = Promise.allSettled(results);
        await scheduler.waitFor(settled);
        expect(started).toEqual(arrived);
        expect(await settled).toEqual(
          list.map(({ fails }, index) =>
            fails ? { status: "rejected", reason: new Error(`${index}`) } : { status: "fulfilled", value: index },
          ),
        );
        expect(gate.idle).toBe(true);
        expect(gate.now("map", () => 2)).toBe(2);
      }),
    );
  });
});

describe("OperationGate", () => {
  it("lets shared operations overlap", async () => {
    const gate = new OperationGate();
    const [first, second] = [held(), held()];
    const both = Promise.all([gate.shared(first.operation), gate.shared(second.operation)]);
    let started = 0;
    const third = gate.shared(async () => {
      started += 1;
    });
    await third; // while the others run
    expect(started).toBe(1);
    first.end();
    second.end();
    await both;
  });

  it("starts an operation at once when nothing is in its way", () => {
    const gate = new OperationGate();
    let started = false;
    void gate.alone(async () => {
      started = true;
    });
    expect(started).toBe(true);
  });

  it("does not let shared operations pass an alone one that waits", async () => {
    const gate = new OperationGate();
    const order: string[] = [];
    const first = held();
    const all = [
      gate.shared(first.operation),
      gate.alone(async () => void order.push("alone")),
      gate.shared(async () => void order.push("shared")),
    ];
    await turn();
    expect(order).toEqual([]);
    first.end();
    await Promise.all(all);
    expect(order).toEqual(["alone", "shared"]);
  });

  it.each(["shared", "alone"] as const)(
    "goes on after a failed %s operation, and passes the failure on",
    async (kind) => {
      const gate = new OperationGate();
      const first = held();
      const failing = gate[kind](first.operation);
      const next = gate.alone(async () => "next");
      const failure = new Error("no");
      first.fail(failure);
      expect(await rejectionOf(failing)).toBe(failure);
      expect(await next).toBe("next");
      expect(gate.idle).toBe(true);
    },
  );

  it("goes on after an operation that throws before it returns a promise", async () => {
    const gate = new OperationGate();
    const failure = new TypeError("at once");
    const failing = gate.alone(() => {
      throw failure;
    });
    expect(await rejectionOf(failing)).toBe(failure);
    expect(await gate.alone(async () => 1)).toBe(1);
  });

  it("runs synchronous operations beside shared ones and before waiting ones, not during alone ones", async () => {
    const gate = new OperationGate();
    const [shared, alone] = [held(), held()];
    const sharing = gate.shared(shared.operation);
    const beingAlone = gate.alone(alone.operation);
    expect(gate.now("allocate()", () => "ran")).toBe("ran");
    shared.end();
    await sharing;
    await turn();
    const error = errorOf(() => gate.now("allocate()", () => expect.unreachable()));
    expect(error.code).toBe("ERR_IOSPAN_BUSY");
    expect(error.message).toContain("allocate()");
    alone.end();
    await beingAlone;
    expect(gate.now("allocate()", () => "ran")).toBe("ran");
  });

  it("does not stay closed when a synchronous operation throws", async () => {
    const gate = new OperationGate();
    expect(() =>
      gate.now("x", () => {
        throw new RangeError("inside");
      }),
    ).toThrow("inside");
    expect(gate.idle).toBe(true);
    expect(await gate.alone(async () => 1)).toBe(1);
  });

  it("is idle only when nothing runs and nothing waits", async () => {
    const gate = new OperationGate();
    expect(gate.idle).toBe(true);
    const [first, second] = [held(), held()];
    const running = gate.shared(first.operation);
    const waiting = gate.alone(second.operation);
    expect(gate.idle).toBe(false);
    first.end();
    await running;
    expect(gate.idle).toBe(false);
    second.end();
    await waiting;
    expect(gate.idle).toBe(true);
  });
});

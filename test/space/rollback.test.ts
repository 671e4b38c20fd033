import { describe, expect, it } from "vitest";
import { inconsistent, Rollback } from "../../src/space/rollback.js";

describe("Rollback", () => {
  it("undoes in reverse order, once", () => {
    const order: number[] = [];
    const rollback = new Rollback();
    for (const step of [1, 2, 3]) rollback.did(() => order.push(step));
    expect(rollback.run()).toEqual([]);
    expect(rollback.run()).toEqual([]);
    expect(order).toEqual([3, 2, 1]);
  });

  it("undoes the rest when a step cannot be undone, and tells which could not", () => {
    const order: number[] = [];
    const [first, third] = [new Error("1"), new Error("3")];
    const rollback = new Rollback();
    rollback.did(() => {
      throw first;
    });
    rollback.did(() => order.push(2));
    rollback.did(() => {
      throw third;
    });
    expect(rollback.run()).toEqual([third, first]);
    expect(order).toEqual([2]);
  });
});

describe("inconsistent", () => {
  it("says what failed, why, what could not be undone, and keeps all of it", () => {
    const [reason, failures] = [new Error("refused"), [new Error("stuck"), "odd"]];
    const error = inconsistent("mapping 0x1000", reason, failures);
    expect(error.code).toBe("ERR_IOSPAN_INCONSISTENT");
    expect(error.message).toBe("mapping 0x1000 failed (refused) and could not be undone (stuck; odd)");
    expect(error.hint).toContain("close the space");
    expect((error.cause as AggregateError).errors).toEqual([reason, ...failures]);
  });
});

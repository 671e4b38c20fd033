import { describe, expect, it } from "vitest";
import { IospanError } from "../../src/errors.js";
import { afterOthers, notVerified } from "../../src/space/space-errors.js";
import type { StrategyTrial } from "../../src/space/strategies/auto.js";
import type { StrategyName } from "../../src/space/strategies/strategy.js";

const passed = (strategy: StrategyName, reason: string): StrategyTrial => ({ strategy, chosen: false, reason });
const refused = (message: string) => new IospanError("ERR_IOSPAN_SYSCALL", message, { device: "d", hint: "h" });
const told = (message: string, ...trials: readonly StrategyTrial[]) =>
  (afterOthers(refused(message), trials) as IospanError).message;

describe("the last strategy's error", () => {
  it("is passed on as it is where it was the first", () => {
    const error = refused("no");
    expect(afterOthers(error, [])).toBe(error);
  });

  it("tells a reason of several strategies once", () => {
    expect(told("last", passed("iommufd", "why"), passed("shared-container", "why"))).toBe(
      'last; before, "iommufd" and "shared-container" were passed over: why',
    );
    expect(told("last", passed("iommufd", "one"), passed("shared-container", "two"))).toBe(
      'last; before, "iommufd" was passed over: one; "shared-container" was passed over: two',
    );
  });

  it("does not repeat its own reason", () => {
    expect(told("same", passed("iommufd", "same"), passed("shared-container", "same"))).toBe(
      'same; before, "iommufd" and "shared-container" were passed over for the same',
    );
    expect(told("same", passed("iommufd", "other"), passed("shared-container", "same"))).toBe(
      'same; before, "iommufd" was passed over: other; "shared-container" was passed over for the same',
    );
  });

  it("takes the same failure of the caller's proof for the same, whichever strategy it names", () => {
    const failure = (strategy: StrategyName) => notVerified(strategy, new Error("no DMA"));
    const trials = (["iommufd", "shared-container"] as const).map((name) => passed(name, failure(name).message));
    const error = afterOthers(failure("mirrored"), trials) as IospanError;
    expect(error).toMatchObject({ code: "ERR_IOSPAN_VERIFY_FAILED", cause: expect.any(Error) });
    expect(error.message).toMatch(/: no DMA; before, "iommufd" and "shared-container" were passed over for the same$/);
  });

  it("keeps its facts", () => {
    const error = afterOthers(refused("no"), [passed("iommufd", "why")]);
    expect(error).toMatchObject({ code: "ERR_IOSPAN_SYSCALL", device: "d", hint: "h" });
  });
});

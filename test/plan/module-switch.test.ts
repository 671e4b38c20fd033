import { describe, expect, it } from "vitest";
import { moduleSwitch } from "../../src/plan/module-switch.js";
import { kernel } from "./support/made-up.js";

describe("a parameter that is a yes or no", () => {
  it.each([
    ["Y", true],
    ["1", true],
    ["on", true],
    ["N\n", false],
    ["0", false],
    ["off", false],
    ["", undefined],
    ["o", undefined],
  ])("%j is %s", (text, expected) => {
    const { vfio } = kernel({ vfio: { parameters: new Map([["vfio.mode", text]]) } });
    expect(moduleSwitch(vfio, "vfio.mode")).toBe(expected);
    expect(moduleSwitch(vfio, "vfio.other")).toBeUndefined();
  });

  it("is not known without a kernel", () => {
    expect(moduleSwitch(undefined, "vfio.mode")).toBeUndefined();
  });
});

import { describe, expect, it } from "vitest";
import type { ReservedRegion } from "../../src/machine/machine.js";
import { reservedOf } from "../../src/plan/reserved.js";
import { subjectOf } from "../../src/plan/subject.js";
import { SurveyIndex } from "../../src/plan/survey-index.js";
import { type IommuKind, iommuKinds } from "../../src/topology/topology.js";
import { device, iommu, topologyOf } from "./support/made-up.js";

const SOFTWARE = "0x8000000-0x80fffff msi";
const X86 = "0xfee00000-0xfeefffff msi";
const KEPT: Readonly<Partial<Record<IommuKind, readonly string[]>>> = {
  "arm,smmu-v3": [SOFTWARE],
  "arm,smmu": [SOFTWARE],
  virtio: [SOFTWARE],
  intel: [X86],
  amd: [X86, "0xfd00000000-0xffffffffff reserved"],
};

/** What is kept of a device that is in no group yet, or in one whose regions the kernel lists. */
function kept(kind: IommuKind, reserved: readonly ReservedRegion[] = [], group?: number): readonly string[] {
  const only = device("0000:01:00.0", "a", { reserved, group });
  const index = new SurveyIndex({ topology: topologyOf([only], [iommu("a", kind)]), kernel: undefined });
  return reservedOf(subjectOf(only.name, only, index), index).map(
    ({ start, end, type }) => `0x${start.toString(16)}-0x${end.toString(16)} ${type}`,
  );
}

describe("what is reserved where no group tells", () => {
  it.each(iommuKinds)("behind %s", (kind) => {
    expect(kept(kind)).toEqual(KEPT[kind] ?? []);
    const own = { start: 0n, end: 0xfffn, type: "reserved" };
    expect(kept(kind, [own])).toEqual(["0x0-0xfff reserved", ...(KEPT[kind] ?? [])]);
  });

  it("behind virtio's, which needs no window where the machine has one", () => {
    const region = { start: 0xfee0_0000n, end: 0xfeef_ffffn, type: "msi" };
    expect(kept("virtio", [region])).toEqual([X86]);
    expect(kept("intel", [{ ...region, type: "reserved" }])).toHaveLength(2);
  });

  it("nothing but what the kernel lists where there is a group", () => {
    expect(kept("amd", [], 1)).toEqual([]);
  });
});

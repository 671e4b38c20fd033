import { describe, expect, it } from "vitest";
import { isolationHint } from "../../src/vfio/isolated-interrupts.js";

describe("interrupts that are not isolated", () => {
  it.each([
    ["smmu3.0x000000000c000000", /^give the device an msi-parent/, /intremap/],
    ["dmar0", /^have interrupts remapped.*intremap=off/, /msi-parent/],
    ["ivhd1", /^have interrupts remapped.*intremap=off/, /msi-parent/],
    ["virtio3", /^on Arm give.*msi-parent.*; on x86 have.*intremap=off/, /^give/],
    [undefined, /^on Arm give.*msi-parent.*; on x86 have.*intremap=off/, /^give/],
  ])("of %s are isolated where that is done on such a machine", (iommu, expected, unexpected) => {
    for (const asker of ["vfio_iommu_type1", "iommufd"] as const) {
      const hint = isolationHint(iommu, asker);
      expect(hint).toMatch(expected);
      expect(hint).not.toMatch(unexpected);
      expect(hint).toContain(`, or accept the risk: echo 1 > /sys/module/${asker}/parameters/allow_unsafe_interrupts`);
    }
  });
});

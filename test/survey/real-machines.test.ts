import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { examine } from "../../src/doctor/examine.js";
import { planSpace } from "../../src/plan/planner.js";
import { parseSavedMachine } from "../../src/survey/saved/parse-saved-machine.js";

function saved(name: string) {
  const file = new URL(`machines/${name}.json.gz`, import.meta.url);
  return parseSavedMachine(gunzipSync(readFileSync(file)).toString(), name).survey();
}

const [SMMU0, SMMU1] = ["smmu3.0x000000000c000000", "smmu3.0x000000000c020000"];

describe.each([
  ["linux-7.3-acpi", ["0000:02:00.0", "0000:22:00.0"], "iort", "arm-smmu-v3.1.auto"],
  ["linux-7.3-device-tree", ["0000:02:00.0", "0001:22:00.0", "9030000.dma-port"], "device-tree", "c020000.smmuv3"],
] as const)("a real machine that was saved: %s", (name, onVfio, firmware, logName) => {
  const survey = saved(name);
  const { topology, kernel } = survey;

  it("has each device behind the SMMU that it is behind, with the StreamID that firmware gives it", () => {
    expect(topology.iommus.map((iommu) => iommu.name)).toEqual([SMMU0, SMMU1]);
    expect(topology.iommus[1]?.device).toBe(logName);
    expect(topology.sources.map(({ kind }) => kind)).toContain(firmware);
    const places = onVfio.map((each) => {
      const device = topology.devices.find((known) => known.name === each);
      return [each, device?.links.map(({ iommu }) => iommu), device?.links.flatMap(({ ids }) => ids)[0]?.first];
    });
    const ids: Readonly<Record<string, number>> = { "0000:02:00.0": 0x200, "9030000.dma-port": 0x42 };
    expect(places).toEqual(
      onVfio.map((each) => [
        each,
        [`/sys/class/iommu/${each === "0000:02:00.0" ? SMMU0 : SMMU1}`],
        ids[each] ?? 0x2200,
      ]),
    );
    expect(topology.findings.filter(({ severity }) => severity === "warning")).toEqual([]);
  });

  it("plans what its kernel did", () => {
    const plan = planSpace(survey, onVfio);
    const hasIommufd = kernel?.vfio.nodes?.has("/dev/iommu");
    expect(plan.strategies.map(({ strategy, verdict }) => [strategy, verdict])).toEqual([
      ["iommufd", hasIommufd ? "yes" : "no"],
      ["shared-container", "yes"],
      ["mirrored", "yes"],
      ["single-domain", "no"],
    ]);
    expect(plan.recommended).toBe(hasIommufd ? "iommufd" : "shared-container");
    expect(plan.iovaRanges.known.ranges).toEqual([
      { start: 0n, end: 0x7ff_ffffn },
      { start: 0x810_0000n, end: 0xffff_ffff_ffffn },
    ]);
    expect([plan.pageSizes.known.bitmap, plan.pageSizes.granule]).toEqual([0x4020_1000n, 4096]);
    expect([...plan.iovaRanges.unknown, ...plan.pageSizes.unknown, ...plan.steps]).toEqual([]);
  });

  it("has nothing that the doctor would mend", () => {
    const { checks } = examine(survey);
    expect(checks.filter(({ outcome }) => outcome === "FAIL")).toEqual([]);
    expect(checks.filter(({ outcome }) => outcome === "PASS").length).toBeGreaterThan(10);
  });
});

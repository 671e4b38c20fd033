import { describe, expect, it } from "vitest";
import { judgeCoherency } from "../../src/plan/coherency.js";
import { planSpace } from "../../src/plan/planner.js";
import { subjectOf } from "../../src/plan/subject.js";
import { SurveyIndex } from "../../src/plan/survey-index.js";
import { surveyOfTopology } from "../../src/survey/survey-machine.js";
import { device, iommu, kernel, topologyOf } from "./support/made-up.js";

const SMMU2 = iommu("smmu.0x0", "arm,smmu", { coherent: false });

describe("what VFIO has taken", () => {
  it("is no proof of coherency where it was taken without an IOMMU's translation", () => {
    const taken = device("0000:01:00.0", "smmu3.0x0", { group: 1 });
    const topology = topologyOf([taken], [iommu("smmu3.0x0", "arm,smmu-v3", { coherent: false })]);
    const verdictOf = (noiommu: boolean) => {
      const index = new SurveyIndex({ topology, kernel: kernel({ devices: { [taken.path]: { noiommu } } }) });
      return judgeCoherency(subjectOf(taken.name, taken, index), index).verdict;
    };
    expect([false, true].map(verdictOf)).toEqual(["yes", "no"]);
  });

  it("is no proof for others behind an SMMUv2, since it may have been taken for its own sake", () => {
    const taken = device("0000:01:00.0", "smmu.0x0", { group: 1, coherent: true });
    const other = device("0000:02:00.0", "smmu.0x0", { group: 2, driver: null, coherent: false });
    const survey = { topology: topologyOf([taken, other], [SMMU2]), kernel: kernel({}) };
    const [first, second] = planSpace(survey, [taken.name, other.name]).devices;
    expect([first?.verdict, second?.verdict]).toEqual(["yes", "no"]);
    expect(second?.reason).toContain("neither of it nor of smmu.0x0");
  });
});

it("takes a PCI function's coherency from its host, where it says none itself", () => {
  const verdictOf = (coherent: boolean) => {
    const host = device("40000000.pcie", "smmu.0x0", { path: "/pcie", isBus: true, coherent, driver: undefined });
    const fn = device("0000:01:00.0", "smmu.0x0", { host: "/pcie", driver: undefined, group: undefined });
    const bare = { ...fn, paths: {} };
    return planSpace(surveyOfTopology(topologyOf([host, bare], [SMMU2])), [fn.name]).devices[0]?.verdict;
  };
  expect([true, false].map(verdictOf)).toEqual(["yes", "no"]);
});

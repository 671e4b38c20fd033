import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { msiIsolation } from "../../src/doctor/checks/msi-isolation.js";
import { judgeIsolation } from "../../src/plan/isolation.js";
import { subjectOf } from "../../src/plan/subject.js";
import { SurveyIndex } from "../../src/plan/survey-index.js";
import { iommuKinds } from "../../src/topology/topology.js";
import { answered, behind, patient, pci, platform, refused, smmu } from "./support/patient.js";

const LINES = [
  "vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param",
  "DMAR-IR: Enabled IRQ remapping in x2apic mode",
  "DMAR-IR: Not enabling interrupt remapping",
  "AMD-Vi: Interrupt remapping enabled",
  "AMD-Vi: Disabling interrupt remapping",
  "ITS [mem 0x08080000-0x0809ffff]",
  "GICv5 ITS: ITS its@2f120000 enabled using linear device table device_id_bits 16",
  "GICv2m: range[mem 0x08020000-0x08020fff], SPI[80:143]",
  "GIC: enabling workaround for ITS: Socionext Synquacer pre-ITS",
] as const;

const answers = [
  answered(),
  refused("ERR_IOSPAN_UNSAFE_INTERRUPTS", { errno: 1 }),
  refused("ERR_IOSPAN_GROUP_BUSY", { errno: 16 }),
  { holders: [], answer: undefined },
];

const machines = fc.record({
  kind: fc.constantFrom(...iommuKinds),
  isPci: fc.boolean(),
  log: fc.subarray([...LINES]),
  commandLine: fc.constantFrom("quiet", "intremap=off", "intremap=nosid", "nointremap"),
  answer: fc.constantFrom(...answers),
  unsafe: fc.constantFrom("Y", "1", "N", ""),
});

describe("plan and doctor, of the same machine", () => {
  it("say the same of isolated interrupts", () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(machines, ({ kind, isPci, log, commandLine, answer, unsafe }) => {
        const links = [behind("iommu")];
        const { survey, devices } = patient({
          devices: [isPci ? pci({ links }) : platform({ links, group: 1 })],
          iommus: [smmu("iommu", { kind })],
          answers: { 1: answer },
          kernel: { log, commandLine },
          parameters: { "vfio_iommu_type1.allow_unsafe_interrupts": unsafe },
        });
        const index = new SurveyIndex(survey);
        const [outcome] = msiIsolation.run({ survey, devices }).map((diagnosis) => diagnosis.outcome);
        const planned = devices.map((each) =>
          judgeIsolation(subjectOf(each.name, each, index), "vfio_iommu_type1", index),
        );
        const { verdict, reason } = planned[0]!;
        seen.add(`${outcome} ${verdict}`);
        expect(verdict === "no", reason).toBe(outcome === "FAIL");
        if (outcome === "CANNOT-CHECK") expect(reason).toBe("its interrupts are taken for isolated");
      }),
    );
    expect([...seen].sort()).toEqual(["CANNOT-CHECK yes", "FAIL no", "PASS yes"]);
  });
});

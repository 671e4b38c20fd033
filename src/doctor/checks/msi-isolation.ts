import { allowsUnsafe, type Isolation, isolationOf } from "../../plan/isolation.js";
import { subjectOf } from "../../plan/subject.js";
import { SurveyIndex } from "../../plan/survey-index.js";
import type { IommuKind } from "../../topology/topology.js";
import { isolationHint } from "../../vfio/isolated-interrupts.js";
import type { Check, Diagnosis } from "../check.js";
import { askKernel, failed, noKernel, passed, untold } from "../diagnoses.js";
import { type ExaminedGroup, ofGroups, onlyDevice } from "../examined-group.js";
import { lastLines } from "../log-lines.js";

/** A device that writes an interrupt to another's address must be stopped (vfio_iommu_type1.c, vfio_iommu_type1_attach_group: EPERM). */
export const msiIsolation: Check = {
  id: "IOSPAN-MSI-ISOLATION",
  title: "isolated interrupts",
  run: (patient) => {
    if (patient.survey.kernel === undefined) return patient.devices.length === 0 ? [] : [noKernel];
    const index = new SurveyIndex(patient.survey);
    return ofGroups(patient, (group) => [look(group, index)]);
  },
};

function look(group: ExaminedGroup, index: SurveyIndex): Diagnosis {
  const device = onlyDevice(group);
  if (allowsUnsafe("vfio_iommu_type1", index)) {
    return passed("vfio_iommu_type1.allow_unsafe_interrupts lets VFIO go without", { device });
  }
  const subjects = group.devices.map((each) => subjectOf(each.name, each, index));
  const all = subjects.map((subject) => isolationOf(subject, index));
  const against = all.find(({ isolated }) => isolated === false);
  const kind = subjects[0]?.iommus[0]?.kind;
  if (against !== undefined) return notIsolated(group, against, kind, refusals(index));
  if (all.every(({ isolated }) => isolated === true)) return passed(all[0]?.because ?? "", { device });
  return untold("only VFIO itself tells whether interrupts are isolated", {
    evidence: refusals(index).map((line) => `${line} (of a group that it does not name)`),
    fix: [askKernel],
    device,
  });
}

function notIsolated(
  group: ExaminedGroup,
  { evidence, because }: Isolation,
  kind: IommuKind | undefined,
  lines: readonly string[],
): Diagnosis {
  const answer = group.facts?.answer;
  const isRefused = answer?.asked === "refused" && answer.code === "ERR_IOSPAN_UNSAFE_INTERRUPTS";
  return failed(`${group.text} has no isolated interrupts: it could raise another device's (${because})`, {
    evidence: [...evidence, ...(isRefused ? lines : [])],
    fix: isolationHint(iommuName(kind, group.iommu), "vfio_iommu_type1").split(", or "),
    device: onlyDevice(group),
  });
}

/** The remedy goes by the kind, which a name that only firmware gives does not tell. */
function iommuName(kind: IommuKind | undefined, name: string): string {
  return kind === "arm,smmu-v3" || kind === "arm,smmu" ? `smmu ${name}` : name;
}

/** Type1's own line names no group, and may be of another, or older than what was mended: it proves nothing by itself. */
function refusals({ kernel }: SurveyIndex): readonly string[] {
  return lastLines(kernel?.log, /vfio_iommu_type1_attach_group: No interrupt remapping support/).slice(-1);
}

import { judgeDevice } from "../../plan/device-judgement.js";
import { subjectOf } from "../../plan/subject.js";
import { SurveyIndex } from "../../plan/survey-index.js";
import type { Survey } from "../../survey/survey.js";
import type { TopologyDevice } from "../../topology/topology.js";

/** Why VFIO cannot hand out some devices. */
export interface CommonReason {
  /** Of the device it speaks as `it`, and of what it is behind as `its IOMMU`. */
  readonly reason: string;
  readonly count: number;
}

/** Why VFIO can hand out none of the devices behind an IOMMU; what most have in common first. */
export function commonReasons(survey: Survey): readonly CommonReason[] {
  const index = new SurveyIndex(survey);
  const counts = new Map<string, number>();
  for (const device of survey.topology.devices) {
    if (device.links.length === 0) continue;
    const { verdict, reason } = judgeDevice(subjectOf(device.name, device, index), index);
    if (verdict !== "no") continue;
    const text = withoutNames(reason, device, index);
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return [...counts].map(([reason, count]) => ({ reason, count })).sort((a, b) => b.count - a.count);
}

function withoutNames(reason: string, { name, links }: TopologyDevice, index: SurveyIndex): string {
  const iommus = links.map(({ iommu }) => index.iommu(iommu)?.name ?? iommu);
  return iommus.reduce((text, iommu) => text.replaceAll(iommu, "its IOMMU"), reason.replaceAll(name, "it"));
}

import { hex, type IovaRange, iova } from "../../iova.js";
import { forbidden, reservedOf } from "../../plan/reserved.js";
import { subjectOf } from "../../plan/subject.js";
import { SurveyIndex } from "../../plan/survey-index.js";
import { complement, explainRanges, formatRange, formatRemoved, normalize } from "../../space/iova-ranges.js";
import type { Check, Patient } from "../check.js";
import { askKernel, failed, passed, untold, warned } from "../diagnoses.js";
import { type ExaminedGroup, examinedGroups } from "../examined-group.js";

/** Addresses of user space's memory lie below on 64-bit machines, and programs like to use them as IOVAs. */
const USER_ADDRESSES = 2n ** 47n;

/** Which IOVAs never work: reserved windows, and what is beyond an IOMMU's aperture. */
export const reserved: Check = {
  id: "IOSPAN-RESERVED",
  title: "IOVAs that can be mapped",
  run: (patient) => {
    const groups = examinedGroups(patient).filter(({ noiommu }) => !noiommu);
    if (groups.length === 0) return firmwareOnly(patient);
    const answered = groups.flatMap(answerOf);
    return [answered.length < groups.length ? ofWindows(groups) : ofAnswers(answered)];
  },
};

/** What firmware keeps, and what the IOMMU's driver always does. */
function firmwareOnly({ survey, devices }: Patient) {
  const index = new SurveyIndex(survey);
  const regions = devices.flatMap((device) => reservedOf(subjectOf(device.name, device, index), index));
  const windows = normalize(forbidden(regions));
  if (windows.length === 0) return [];
  return [
    untold(`never mapped: ${windows.map(formatRange).join(", ")}; the kernel may keep more`, { fix: [askKernel] }),
  ];
}

function answerOf({ iommu, facts }: ExaminedGroup) {
  const answer = facts?.answer;
  return answer?.asked === "answered" ? [{ source: iommu, ranges: answer.ranges }] : [];
}

function ofAnswers(sources: readonly { readonly source: string; readonly ranges: readonly IovaRange[] }[]) {
  const { ranges, removed } = explainRanges(sources);
  const evidence = removed.map(formatRemoved);
  const last = ranges.at(-1)?.end;
  if (last === undefined) {
    const fix = [
      "open the devices in spaces of their own; or see what takes so much: cat /sys/kernel/iommu_groups/*/reserved_regions",
    ];
    return failed("there is no IOVA that all IOMMUs translate", { evidence, fix });
  }
  const text = `${ranges.map(formatRange).join(", ")} can be mapped on all`;
  if (last >= USER_ADDRESSES - 1n) return passed(text);
  const bits = (last + 1n).toString(2).length - 1;
  return warned(`${text}: nothing beyond ${hex(last)} (${bits} bits), so addresses of memory are no IOVAs there`, {
    evidence,
    fix: ["let iospan choose IOVAs (leave out iova), or keep your own below that"],
  });
}

/** Without the kernel's answer there are its files, which tell of windows and not of apertures. */
function ofWindows(groups: readonly ExaminedGroup[]) {
  const known = groups
    .flatMap(({ topology }) => topology?.reserved ?? [])
    .filter(({ type }) => !type.startsWith("direct"));
  const windows = normalize(known.map(({ start, end }) => ({ start: iova(start), end: iova(end) })));
  if (complement(windows).length === 0) {
    return failed("every IOVA is reserved", { evidence: windows.map(formatRange), fix: [askKernel] });
  }
  const text = windows.length === 0 ? "no window is reserved" : `never mapped: ${windows.map(formatRange).join(", ")}`;
  return untold(`${text}; how far the IOMMUs reach is not known`, { fix: [askKernel] });
}

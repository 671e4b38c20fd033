import { iova } from "../../iova.js";
import type { ReservedRegion } from "../../machine/machine.js";
import { requiredMappingErrno } from "../../plan/required-mapping.js";
import { formatRange } from "../../space/iova-ranges.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { failed, passed, warned } from "../diagnoses.js";
import { iommusOf } from "../examined-device.js";
import { type ExaminedGroup, ofGroups, onlyDevice } from "../examined-group.js";
import { lastLines, literally } from "../log-lines.js";

/**
 * Memory that firmware wants mapped 1:1 for a device (RMRR, RMR, unity maps) keeps it from VFIO altogether (drivers/iommu/iommu.c,
 * __iommu_device_set_domain: require_direct).
 */
export const directMapping: Check = {
  id: "IOSPAN-DIRECT-MAPPING",
  title: "no memory that firmware keeps",
  run: (patient) => ofGroups(patient, (group) => look(patient, group)),
};

const SETUP =
  "switch off what uses the memory in the firmware setup (legacy USB, remote management, HP's shared memory); a device " +
  "that needs it cannot be handed out";

function look({ survey }: Patient, group: ExaminedGroup): readonly Diagnosis[] {
  const regions = (group.topology?.reserved ?? []).filter(({ type }) => type === "direct");
  const log = refusals(survey.kernel?.log, group);
  if (regions.length > 0) return [required(survey, group, [...regions.map((region) => seen(region, group)), ...log])];
  if (log.length > 0) return [onceRefused(group, log)];
  return group.topology === undefined ? [] : [passed(`${group.text} has none`, { device: onlyDevice(group) })];
}

/** Some releases do not refuse it: the memory is no longer mapped then, and what firmware does with it goes wrong. */
function required(survey: Patient["survey"], group: ExaminedGroup, evidence: readonly string[]): Diagnosis {
  const iommus = group.devices.flatMap((device) => iommusOf(survey, device));
  const errno = requiredMappingErrno(iommus, survey.kernel?.release);
  const details = { evidence, fix: [SETUP], device: onlyDevice(group) };
  const wanted = `firmware wants memory mapped 1:1 for ${group.text}`;
  if (errno !== undefined) return failed(`${wanted}: VFIO does not take it (${errno})`, details);
  return warned(`${wanted}: this Linux may give it to VFIO all the same, and firmware loses its memory`, details);
}

/** The log goes back to when the machine started, and the region is not there any more, or cannot be read. */
function onceRefused(group: ExaminedGroup, evidence: readonly string[]): Diagnosis {
  const now = group.topology === undefined ? "its reserved_regions cannot be read" : "it wants none now";
  return warned(`VFIO was refused ${group.text} for memory that firmware wants mapped 1:1; ${now}`, {
    evidence,
    fix: [`if it is refused again: ${SETUP}`],
    device: onlyDevice(group),
  });
}

function seen({ start, end }: ReservedRegion, { number }: ExaminedGroup): string {
  const range = formatRange({ start: iova(start), end: iova(end) });
  return `/sys/kernel/iommu_groups/${number}/reserved_regions: ${range} direct`;
}

function refusals(log: readonly string[] | undefined, { devices, companions }: ExaminedGroup): readonly string[] {
  const names = [...devices, ...companions].map(({ name }) => literally(name)).join("|");
  return lastLines(log, new RegExp(`(?:${names}).*(?:1:1 IOMMU mapping|platform RMRR requirement)`));
}

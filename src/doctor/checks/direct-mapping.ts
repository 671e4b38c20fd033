import { iova } from "../../iova.js";
import { formatRange } from "../../space/iova-ranges.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { failed, passed } from "../diagnoses.js";
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
  const device = onlyDevice(group);
  const regions = (group.topology?.reserved ?? []).filter(({ type }) => type === "direct");
  const names = [...group.devices, ...group.companions].map(({ name }) => literally(name)).join("|");
  const log = lastLines(
    survey.kernel?.log,
    new RegExp(`(?:${names}).*(?:1:1 IOMMU mapping|platform RMRR requirement)`),
  );
  if (regions.length + log.length === 0) {
    return group.topology === undefined ? [] : [passed(`${group.text} has none`, { device })];
  }
  const ranges = regions.map(({ start, end }) => formatRange({ start: iova(start), end: iova(end) }));
  return [
    failed(`firmware wants memory mapped 1:1 for ${group.text}: VFIO does not take it`, {
      evidence: [
        ...ranges.map((range) => `/sys/kernel/iommu_groups/${group.number}/reserved_regions: ${range} direct`),
        ...log,
      ],
      fix: [SETUP],
      device,
    }),
  ];
}

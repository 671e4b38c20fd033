import type { Finding } from "../../topology/topology.js";
import type { Check, Patient } from "../check.js";
import { passed, warned } from "../diagnoses.js";

/** Findings of a topology that are about what firmware says being wrong; others have a check of their own. */
const FIXES: Readonly<Record<string, string>> = {
  "iommu-differs": "the device's interfaces go by what the kernel says; correct iommus or iommu-map in the device tree",
  "enabled-differs": "the kernel may run with another device tree than was read: compare with /sys/firmware/fdt",
  "disabled-iommu": 'switch the IOMMU on (status = "okay"), or take the device out from behind it',
  "masked-map-row": "correct the row of iommu-map, or iommu-map-mask",
  "wide-map-row": "give each ID a row of its own",
};

/** Whether firmware's description and the kernel agree. */
export const firmware: Check = {
  id: "IOSPAN-FIRMWARE",
  title: "firmware's word on IOMMUs",
  run: (patient) => {
    const { sources } = patient.survey.topology;
    const told = sources.filter(({ kind }) => kind !== "sysfs");
    if (told.length === 0 || patient.devices.length === 0) return [];
    const wrong = findingsOf(patient).map(({ id, text }) => warned(text, { fix: [FIXES[id] ?? ""] }));
    if (wrong.length > 0) return wrong;
    const names = told.map(({ name }) => name).join(", ");
    return [passed(told.length < sources.length ? `${names} and the kernel agree` : `nothing odd in ${names}`)];
  },
};

function findingsOf({ survey, devices }: Patient): readonly Finding[] {
  const about = new Set(devices.flatMap(({ path, links, host }) => [path, host, ...links.map(({ iommu }) => iommu)]));
  return survey.topology.findings.filter((finding) => Object.hasOwn(FIXES, finding.id) && about.has(finding.about));
}

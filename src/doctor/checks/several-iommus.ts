import { choiceOf } from "../../topology/iommu-kind.js";
import type { TopologyDevice } from "../../topology/topology.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { failed, passed, warned } from "../diagnoses.js";
import { iommusOf } from "../examined-device.js";

/** Firmware may list several IOMMUs for one device; what Linux makes of that depends on their driver. */
export const severalIommus: Check = {
  id: "IOSPAN-SEVERAL-IOMMUS",
  title: "one IOMMU for each interface",
  run: (patient) => {
    const { topology } = patient.survey;
    const isTold = topology.sources.some(({ kind }) => kind !== "sysfs");
    if (!isTold || patient.devices.length === 0) return [];
    const several = patient.devices.flatMap((device) => look(patient, device));
    return several.length > 0 ? several : [passed("firmware lists one for each, or none")];
  },
};

const OWN_NODES =
  "give each interface a node of its own in the device tree, with its own iommus: a space then spans all of them";

function look({ survey }: Patient, device: TopologyDevice): readonly Diagnosis[] {
  const finding = survey.topology.findings.find(({ id, about }) => id === "several-iommus" && about === device.path);
  if (finding === undefined) return [];
  const real = iommusOf(survey, device);
  const kind = real[0]?.kind ?? listedKind(survey.topology, device);
  const details = { evidence: evidenceOf(device, real), fix: [OWN_NODES], device: device.name };
  switch (kind && choiceOf(kind)) {
    case "all":
      return [passed(finding.text, { device: device.name })];
    case "none":
      return [failed(finding.text, details)];
    case "first":
    case "last":
    case undefined:
      return [warned(finding.text, details)];
  }
}

function listedKind({ iommus }: Patient["survey"]["topology"], { links }: TopologyDevice) {
  const paths = new Set(links.map(({ iommu }) => iommu));
  return iommus.find(({ path }) => paths.has(path))?.kind;
}

function evidenceOf(
  { bus, name, links }: TopologyDevice,
  real: readonly { readonly name: string }[],
): readonly string[] {
  if (!links.some(({ via }) => via === "sysfs")) return [];
  return real.map((iommu) => `/sys/bus/${bus}/devices/${name}/iommu -> ${iommu.name}`);
}

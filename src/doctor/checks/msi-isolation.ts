import type { KernelFacts } from "../../survey/survey.js";
import type { IommuKind } from "../../topology/topology.js";
import { isolationHint } from "../../vfio/isolated-interrupts.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { askKernel, failed, noKernel, passed, untold } from "../diagnoses.js";
import { iommusOf } from "../examined-device.js";
import { type ExaminedGroup, ofGroups, onlyDevice } from "../examined-group.js";
import { lastLines } from "../log-lines.js";

const PARAMETER = "vfio_iommu_type1.allow_unsafe_interrupts";
const CODE = "ERR_IOSPAN_UNSAFE_INTERRUPTS";
/** arch/x86 and drivers/iommu: irq_remapping.c (intremap=, nointremap). */
const SWITCHED_OFF = /(?:^|\s)(intremap=(?:\S*,)?off\S*|nointremap)(?=\s|$)/;

/** What the log of a machine says where interrupts are remapped: intel/irq_remapping.c, amd/init.c, irq-gic-v3-its.c. */
const REMAPPED: Readonly<Partial<Record<IommuKind, RegExp>>> = {
  intel: /DMAR-IR: Enabled IRQ remapping in/,
  amd: /AMD-Vi: Interrupt remapping enabled/,
};
const NOT_REMAPPED: Readonly<Partial<Record<IommuKind, RegExp>>> = {
  intel: /DMAR-IR: (?:Failed to enable irq remapping|Not enabling interrupt remapping)/,
};

/** A device that writes an interrupt to another's address must be stopped (vfio_iommu_type1.c, vfio_iommu_type1_attach_group: EPERM). */
export const msiIsolation: Check = {
  id: "IOSPAN-MSI-ISOLATION",
  title: "isolated interrupts",
  run: (patient) => {
    const { kernel } = patient.survey;
    if (kernel === undefined) return patient.devices.length === 0 ? [] : [noKernel];
    return ofGroups(patient, (group) => [look(patient, kernel, group)]);
  },
};

function look({ survey }: Patient, kernel: KernelFacts, group: ExaminedGroup): Diagnosis {
  const device = onlyDevice(group);
  const answer = group.facts?.answer;
  if (kernel.vfio.parameters.get(PARAMETER) === "Y") {
    return passed(`${PARAMETER} lets VFIO go without`, { device });
  }
  if (answer?.asked === "answered") return passed(`the kernel took ${group.text}`, { device });
  const kind = group.devices.flatMap((each) => iommusOf(survey, each))[0]?.kind;
  const evidence = against(kernel, kind);
  const refused = answer?.asked === "refused" && answer.code === CODE ? [answer.message] : [];
  if (refused.length + evidence.length > 0) {
    return failed(`${group.text} has no isolated interrupts: it could raise another device's`, {
      evidence: [...refused, ...evidence],
      fix: isolationHint(iommuName(kind, group.iommu), "vfio_iommu_type1").split(", or "),
      device,
    });
  }
  const remapped = kind === undefined ? undefined : REMAPPED[kind];
  const [line] = remapped === undefined ? [] : lastLines(kernel.log, remapped);
  if (line !== undefined) return passed("the log says that interrupts are remapped", { device });
  return untold("only VFIO itself tells whether interrupts are isolated", {
    fix: [askKernel],
    device,
  });
}

/** The remedy goes by the kind, which a name that only firmware gives does not tell. */
function iommuName(kind: IommuKind | undefined, name: string): string {
  return kind === "arm,smmu-v3" || kind === "arm,smmu" ? `smmu ${name}` : name;
}

/** A line of type1's own counts only where nothing is more certain: it may be older than what was mended. */
function against({ log, commandLine }: KernelFacts, kind: IommuKind | undefined): readonly string[] {
  const [, word] = SWITCHED_OFF.exec(commandLine ?? "") ?? [];
  const pattern = kind === undefined ? undefined : NOT_REMAPPED[kind];
  return [
    ...(word === undefined || (kind !== "intel" && kind !== "amd") ? [] : [`/proc/cmdline: ${word}`]),
    ...(pattern === undefined ? [] : lastLines(log, pattern)),
    ...lastLines(log, /vfio_iommu_type1_attach_group: No interrupt remapping support/).slice(-1),
  ];
}

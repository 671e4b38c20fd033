import { switchIommuOnHint } from "../../machine/iommus.js";
import type { Topology } from "../../topology/topology.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { failed, passed } from "../diagnoses.js";
import { factsOf } from "../examined-device.js";

/**
 * Words of the command line that leave an IOMMU off: of arch/x86/kernel/pci-dma.c (iommu_setup), intel/iommu.c
 * (intel_iommu_setup) and amd/init.c (parse_amd_iommu_options).
 */
const SWITCHES = /(?:^|\s)((?:iommu|intel_iommu|amd_iommu)=(?:\S*,)?off\S*)/g;
const TABLES = { dmar: "DMAR", ivrs: "IVRS", iort: "IORT", "device-tree": "device tree", sysfs: "sysfs" } as const;

const A_GUEST =
  "a virtual machine has one only where its host gives it one (QEMU: -device intel-iommu, -M virt,iommu=smmuv3)";

/** Whether there is anything that translates DMA. */
export const iommuOff: Check = {
  id: "IOSPAN-IOMMU-OFF",
  title: "IOMMU switched on",
  run: (patient) => {
    const { topology } = patient.survey;
    return [topology.sources.some(({ kind }) => kind === "sysfs") ? ofKernel(patient) : ofFirmware(topology)];
  },
};

function ofKernel({ survey }: Patient): Diagnosis {
  const { topology, kernel } = survey;
  const driven = topology.iommus.filter(({ paths }) => paths.sysfs !== undefined);
  const real = topology.groups.filter(({ number }) => !isMadeUp(survey, number));
  if (driven.length + real.length > 0)
    return passed(`${count(driven.length, "IOMMU")}, ${count(real.length, "group")}`);
  const switches = [...(kernel?.commandLine ?? "").matchAll(SWITCHES)].map(([, word = ""]) => word);
  const described = topology.iommus.filter(({ enabled }) => enabled);
  return failed("the kernel drives no IOMMU, and there are no IOMMU groups", {
    evidence: [
      "/sys/class/iommu and /sys/kernel/iommu_groups are empty",
      ...switches.map((word) => `/proc/cmdline: ${word}`),
      ...described.slice(0, 2).map(({ name, paths }) => `${name} is described by the ${sourceOf(paths)}`),
    ],
    fix: fixes(switches, topology),
  });
}

function fixes(switches: readonly string[], { iommus }: Topology): readonly string[] {
  if (switches.length > 0) return [`take ${switches.join(" and ")} from the kernel's command line and boot again`];
  if (iommus.some(({ paths }) => paths.dmar !== undefined))
    return ["add intel_iommu=on to the kernel's command line and boot again"];
  if (iommus.length > 0)
    return ["boot a kernel that is built with the driver of that IOMMU: dmesg | grep -i -e iommu -e smmu"];
  return [switchIommuOnHint, A_GUEST];
}

function ofFirmware({ iommus, sources }: Topology): Diagnosis {
  const enabled = iommus.filter((iommu) => iommu.enabled);
  const where = sources.map(({ name }) => name).join(", ");
  if (enabled.length > 0) return passed(`${count(enabled.length, "IOMMU")} in ${where}`);
  return failed(iommus.length === 0 ? `${where} describes no IOMMU` : `every IOMMU in ${where} is switched off`, {
    evidence: iommus.map(({ name, disabledBecause }) => `${name}: ${disabledBecause ?? "off"}`),
    fix: iommus.length === 0 ? [switchIommuOnHint, A_GUEST] : ['give the IOMMU\'s node status = "okay"'],
  });
}

/** VFIO makes groups for devices without an IOMMU. */
function isMadeUp(survey: Patient["survey"], number: number): boolean {
  return survey.topology.devices.some((device) => device.group === number && factsOf(survey, device)?.noiommu === true);
}

function sourceOf(paths: Topology["iommus"][number]["paths"]): string {
  const [kind = "device-tree"] = Object.keys(paths) as (keyof typeof TABLES)[];
  return TABLES[kind];
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

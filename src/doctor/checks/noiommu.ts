import { enableIommuHint } from "../../machine/iommus.js";
import { moduleSwitch } from "../../plan/module-switch.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { failed, noKernel, passed, warned } from "../diagnoses.js";
import { factsOf } from "../examined-device.js";

const PARAMETER = "vfio.enable_unsafe_noiommu_mode";
const FILE = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";

/** VFIO can hand out devices without an IOMMU, in groups that it makes up (drivers/vfio/group.c, vfio_group_find_or_alloc). */
export const noiommu: Check = {
  id: "IOSPAN-NOIOMMU",
  title: "no device handed out untranslated",
  run: (patient) => {
    const { kernel } = patient.survey;
    if (kernel === undefined) return [noKernel];
    const bare = patient.devices.filter((device) => factsOf(patient.survey, device)?.noiommu === true);
    if (bare.length > 0) return bare.map(({ name, group }) => untranslated(name, group));
    return [moduleSwitch(kernel.vfio, PARAMETER) === true ? switchedOn(patient) : passed("no-IOMMU mode is off")];
  },
};

function untranslated(device: string, group: number | null | undefined): Diagnosis {
  return failed(`${device} has no IOMMU: VFIO hands it out, and its DMA goes to physical addresses`, {
    evidence: [
      `/sys/kernel/iommu_groups/${group ?? "*"}/name: vfio-noiommu (its node is /dev/vfio/noiommu-${group ?? "*"})`,
    ],
    fix: [enableIommuHint, `echo N > ${FILE}`],
    device,
  });
}

function switchedOn({ devices }: Patient): Diagnosis {
  const who = devices.length === 0 ? "no device here" : "none of these devices";
  return warned(`VFIO's unsafe no-IOMMU mode is on; ${who} uses it`, {
    evidence: [`${FILE}: Y`],
    fix: [`echo N > ${FILE}`, "and take vfio.enable_unsafe_noiommu_mode from the command line and /etc/modprobe.d"],
  });
}

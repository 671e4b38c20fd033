import { moduleSwitch } from "../../plan/module-switch.js";
import { hasResetHandler } from "../../plan/platform-reset.js";
import type { TopologyDevice } from "../../topology/topology.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { failed, noKernel, passed, untold, warned } from "../diagnoses.js";
import { isOnVfio } from "../examined-device.js";
import { lastLines, literally } from "../log-lines.js";

const PARAMETER = "vfio_platform.reset_required";

/** vfio-platform wants to know how to reset a device (vfio_platform_common.c, vfio_platform_init_common: ENOENT). */
export const platformReset: Check = {
  id: "IOSPAN-PLATFORM-RESET",
  title: "reset of platform devices",
  run: (patient) => {
    const platform = patient.devices.filter(({ bus }) => bus === "platform");
    if (platform.length === 0) return [];
    return patient.survey.kernel === undefined ? [noKernel] : platform.map((device) => look(patient, device));
  },
};

function look({ survey }: Patient, device: TopologyDevice): Diagnosis {
  const { name, compatible } = device;
  if (isOnVfio(survey, device)) return passed(`${name} is bound`, { device: name });
  const required = survey.kernel?.vfio.parameters.get(PARAMETER);
  if (moduleSwitch(survey.kernel?.vfio, PARAMETER) === false)
    return passed("vfio_platform.reset_required is off", { device: name });
  const refused = lastLines(survey.kernel?.log, new RegExp(`No reset function found for device ${literally(name)}\\b`));
  const evidence = [
    `/sys/module/vfio_platform/parameters/reset_required: ${required ?? "Y, when it is loaded"}`,
    ...refused,
  ];
  const details = { evidence, fix: WITHOUT, device: name };
  if (refused.length > 0) return failed(`vfio-platform refused ${name}: it knows no way to reset it`, details);
  if (hasResetHandler(device)) return passed(`mainline can reset ${name}`, { device: name });
  if (compatible.length === 0) {
    return untold(`whether vfio-platform can reset ${name} depends on what it is, which nobody tells`, details);
  }
  return warned(
    `mainline has no reset handler for ${compatible[0]}: vfio-platform will refuse ${name} with ENOENT`,
    details,
  );
}

const WITHOUT = [
  "if it may be handed out without a reset: modprobe -r vfio_platform; modprobe vfio_platform reset_required=0",
  "where it is built in: vfio_platform.reset_required=0 on the kernel's command line",
];

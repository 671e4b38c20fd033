import { bindCommands, leavesGroup } from "../../machine/vfio-drivers.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { failed, noKernel, passed, untold } from "../diagnoses.js";
import { isOnVfio, stateOf } from "../examined-device.js";
import { type ExaminedGroup, ofGroups, onlyDevice } from "../examined-group.js";

/** All devices of a group go to VFIO, or none (drivers/iommu/iommu.c, iommu_group_claim_dma_owner). */
export const groupViable: Check = {
  id: "IOSPAN-GROUP-VIABLE",
  title: "groups free of other drivers",
  run: (patient) => {
    if (patient.survey.kernel === undefined) return patient.devices.length === 0 ? [] : [noKernel];
    return ofGroups(patient, (group) => look(patient, group));
  },
};

function look({ survey }: Patient, group: ExaminedGroup): readonly Diagnosis[] {
  const { number, companions, text } = group;
  const device = onlyDevice(group);
  const unknown = companions.filter(({ driver }) => driver === undefined);
  const spoilers = companions.filter(
    (companion) =>
      typeof companion.driver === "string" && !leavesGroup(companion.driver) && !isOnVfio(survey, companion),
  );
  if (spoilers.length > 0) {
    return spoilers.map((companion) => {
      const state = stateOf(survey, companion);
      return failed(`${text} is not viable: ${companion.name}, in it as well, is on ${companion.driver}`, {
        evidence: [`/sys/kernel/iommu_groups/${number}/devices/${companion.name}/driver -> ${companion.driver}`],
        fix: [
          `sudo iospan bind ${companion.name}`,
          ...(state === undefined ? [] : ["or by hand:", ...bindCommands(state).split("; ")]),
          "what is on it now loses it; where that must not be, use a slot with a group of its own",
        ],
        device,
      });
    });
  }
  const answer = group.facts?.answer;
  if (answer?.asked === "refused" && answer.code === "ERR_IOSPAN_GROUP_NOT_VIABLE") {
    return [failed(`${text} is not viable`, { evidence: [answer.message], fix: [answer.hint], device })];
  }
  if (unknown.length > 0) {
    const names = unknown.map(({ name }) => name).join(", ");
    return [untold(`nobody tells which drivers ${names} in ${text} have`, { fix: ["make /sys readable"], device })];
  }
  return [
    passed(companions.length === 0 ? `${text} has no other device` : `${text}: the others are harmless`, { device }),
  ];
}

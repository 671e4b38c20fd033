import type { Check, Diagnosis } from "../check.js";
import { failed, passed } from "../diagnoses.js";
import { type ExaminedGroup, ofGroups, onlyDevice } from "../examined-group.js";

/** Refusals that another check explains. */
const EXPLAINED: readonly string[] = [
  "ERR_IOSPAN_GROUP_BUSY",
  "ERR_IOSPAN_GROUP_NOT_VIABLE",
  "ERR_IOSPAN_NO_PERMISSION",
  "ERR_IOSPAN_NO_VFIO",
  "ERR_IOSPAN_UNSAFE_INTERRUPTS",
];

/** What the kernel said when the groups were opened, and a container with each. */
export const trial: Check = {
  id: "IOSPAN-TRIAL",
  title: "groups opened for a trial",
  run: (patient) => ofGroups(patient, look),
};

function look(group: ExaminedGroup): readonly Diagnosis[] {
  const answer = group.facts?.answer;
  const device = onlyDevice(group);
  if (answer?.asked === "answered") return [passed(`${group.text} was opened and can be mapped for`, { device })];
  if (answer?.asked !== "refused" || EXPLAINED.includes(answer.code)) return [];
  return [
    failed(`${group.text} was refused: ${answer.message}`, { evidence: [answer.code], fix: [answer.hint], device }),
  ];
}

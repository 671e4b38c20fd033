import { formatHolders } from "../../machine/group-holders.js";
import type { KernelFacts } from "../../survey/survey.js";
import type { Check, Diagnosis } from "../check.js";
import { failed, noKernel, passed, untold } from "../diagnoses.js";
import { type ExaminedGroup, ofGroups, onlyDevice } from "../examined-group.js";

/** A group is opened once, whoever asks (drivers/vfio/group.c, vfio_group_fops_open: EBUSY). */
export const groupBusy: Check = {
  id: "IOSPAN-GROUP-BUSY",
  title: "groups not in use",
  run: (patient) => {
    const { kernel } = patient.survey;
    if (kernel === undefined) return patient.devices.length === 0 ? [] : [noKernel];
    return ofGroups(patient, (group) => (group.isOnVfio ? [look(kernel, group)] : []));
  },
};

function look({ process }: KernelFacts, group: ExaminedGroup): Diagnosis {
  const { number, text, facts } = group;
  const device = onlyDevice(group);
  const node = `/dev/vfio/${number}`;
  const holders = facts?.holders;
  if (holders !== undefined && holders.length > 0) {
    return failed(`${text} is open in process ${formatHolders(holders)}`, {
      evidence: holders.map(({ pid }) => `/proc/${pid}/fd has ${node}, or a device of it`),
      fix: [`end it: kill ${holders.map(({ pid }) => pid).join(" ")}`],
      device,
    });
  }
  const answer = facts?.answer;
  if (answer?.asked === "answered") return passed(`${node} could be opened`, { device });
  if (answer?.asked === "refused" && answer.code === "ERR_IOSPAN_GROUP_BUSY") {
    return failed(`${text} is in use by somebody who cannot be seen from here`, {
      evidence: [answer.message],
      fix: [`sudo fuser -v ${node} /dev/vfio/devices/* (a mapped region keeps it, too)`],
      device,
    });
  }
  if (holders === undefined)
    return untold(`/proc tells nothing of who has ${node} open`, { fix: [`sudo fuser -v ${node}`], device });
  const seesAll = process.uid === undefined || process.uid === 0;
  if (!seesAll)
    return untold("other users' processes cannot be looked into", { fix: [`sudo fuser -v ${node}`], device });
  return passed(`no process has ${node} open`, { device });
}

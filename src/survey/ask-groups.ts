import type { Machine } from "../machine/machine.js";
import type { TopologyDevice } from "../topology/topology.js";
import type { GroupIdentity } from "../vfio/group.js";
import { askGroup } from "./ask-group.js";
import type { GroupAnswer, GroupFacts, Survey } from "./survey.js";

/** Which groups the kernel can be asked about. */
export interface AskableGroups {
  readonly groups: readonly GroupIdentity[];
  /** The others, and why not. */
  readonly others: ReadonlyMap<number, GroupAnswer>;
}

/** The groups of a survey that VFIO has and nobody holds. */
export function groupsToAsk(survey: Survey): AskableGroups {
  const groups: GroupIdentity[] = [];
  const others = new Map<number, GroupAnswer>();
  const members = membersOf(survey);
  for (const [id, facts] of survey.kernel?.groups ?? []) {
    const devices = members.get(id) ?? [];
    const why = whyNotToAsk(id, { devices, facts, survey });
    const [device] = devices;
    if (why !== undefined || device === undefined) others.set(id, { asked: "not asked", why: why ?? "it is empty" });
    else groups.push({ id, device: device.name, iommu: iommuOf(device, survey) });
  }
  return { groups, others };
}

/**
 * Asks the kernel about each group of a survey that VFIO has and nobody holds, one after the other.
 * @param machine the one that was surveyed.
 * @returns an answer for each group of the survey; `not asked` with the reason for those that were not.
 */
export async function askGroups(machine: Machine, survey: Survey): Promise<ReadonlyMap<number, GroupAnswer>> {
  const { groups, others } = groupsToAsk(survey);
  const answers = new Map(others);
  for (const group of groups) answers.set(group.id, await askGroup(machine, group));
  return answers;
}

/** The survey with answers to what is not in files. */
export function withAnswers(survey: Survey, answers: ReadonlyMap<number, GroupAnswer>): Survey {
  const { kernel } = survey;
  if (kernel === undefined) return survey;
  const groups = [...kernel.groups].map(
    ([id, facts]) => [id, { ...facts, answer: answers.get(id) ?? facts.answer }] as const,
  );
  return { ...survey, kernel: { ...kernel, groups: new Map(groups) } };
}

/** The survey with the kernel's log. @param log lines, oldest first. */
export function withLog(survey: Survey, log: readonly string[] | undefined): Survey {
  return survey.kernel === undefined ? survey : { ...survey, kernel: { ...survey.kernel, log } };
}

/** A group of a survey with its devices. */
interface SurveyedGroup {
  readonly devices: readonly TopologyDevice[];
  readonly facts: GroupFacts;
  readonly survey: Survey;
}

/** Devices by the number of their group. */
function membersOf({ topology }: Survey): ReadonlyMap<number, readonly TopologyDevice[]> {
  const members = new Map<number, TopologyDevice[]>();
  for (const device of topology.devices) {
    if (typeof device.group !== "number") continue;
    const known = members.get(device.group);
    if (known === undefined) members.set(device.group, [device]);
    else known.push(device);
  }
  return members;
}

/** Whether all devices of the group are free of other drivers is for the kernel to tell, when it is opened. */
function whyNotToAsk(id: number, { devices, facts, survey }: SurveyedGroup): string | undefined {
  const known = survey.kernel?.devices;
  if (devices.some(({ path }) => known?.get(path)?.noiommu === true)) return "it is one of VFIO's without an IOMMU";
  if (!devices.some(({ driver }) => driver?.includes("vfio"))) return "no device of it is on a VFIO driver";
  if (survey.kernel?.vfio.nodes?.has(`/dev/vfio/${id}`) === false) return `there is no /dev/vfio/${id}`;
  const [holder] = facts.holders ?? [];
  return holder && `process ${holder.pid} (${holder.command}) has it open`;
}

/** For messages. */
function iommuOf({ links }: TopologyDevice, { topology }: Survey): string {
  const path = links.find(({ used }) => used !== false)?.iommu;
  return topology.iommus.find((iommu) => iommu.path === path)?.name ?? "its IOMMU";
}

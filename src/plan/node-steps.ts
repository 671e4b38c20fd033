import type { FileStatus } from "../machine/machine-files.js";
import type { ProcessFacts } from "../survey/survey.js";
import type { PlanStep } from "./plan.js";
import { inWords, type Situation } from "./situation.js";
import type { Subject } from "./subject.js";

/** CAP_DAC_OVERRIDE as a bit: it opens every file (include/uapi/linux/capability.h). */
const CAP_DAC_OVERRIDE = 1n << 1n;
const READ_WRITE = 0o6;

/** Nodes that are there, and that the process may not open. */
export function nodeSteps({ index }: Situation, usable: readonly Subject[]): readonly PlanStep[] {
  const { kernel } = index;
  const nodes = kernel?.vfio.nodes;
  if (kernel === undefined || nodes === undefined) return [];
  const wanted = ["/dev/vfio/vfio", "/dev/iommu", ...usable.flatMap(nodesOf)];
  const closed = [...new Set(wanted)].filter((path) => isClosed(nodes.get(path), kernel.process));
  if (closed.length === 0) return [];
  const owner = kernel.process.uid ?? "USER";
  return [
    {
      id: "permissions",
      text: `have ${inWords(closed)} opened by the program; to last, as a udev rule: SUBSYSTEM=="vfio", OWNER="${owner}"`,
      commands: [`chown ${owner} ${closed.join(" ")}`],
      device: undefined,
    },
  ];
}

function nodesOf({ device, facts }: Subject): readonly string[] {
  const own = facts?.vfioDevice === undefined ? [] : [`/dev/vfio/devices/${facts.vfioDevice}`];
  return typeof device.group === "number" ? [`/dev/vfio/${device.group}`, ...own] : own;
}

/** False where nobody tells who may open it. */
function isClosed(status: FileStatus | undefined, { uid, groups, capabilities, hasAllUsers }: ProcessFacts): boolean {
  if (status === undefined || uid === undefined || capabilities === undefined) return false;
  if ((capabilities & CAP_DAC_OVERRIDE) !== 0n && hasAllUsers !== false) return false;
  return (permissionsOf(status, uid, groups ?? []) & READ_WRITE) !== READ_WRITE;
}

/** Owner, group and others exclude each other (path_resolution(7)). */
function permissionsOf({ mode, uid: owner, gid }: FileStatus, uid: number, groups: readonly number[]): number {
  if (owner === uid) return mode >> 6;
  return groups.includes(gid) ? mode >> 3 : mode;
}

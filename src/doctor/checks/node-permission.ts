import { errno } from "../../abi/errno.js";
import type { FileStatus } from "../../machine/machine-files.js";
import type { GroupAnswer, KernelFacts, ProcessFacts } from "../../survey/survey.js";
import type { Check, Diagnosis } from "../check.js";
import { failed, noKernel, passed, untold } from "../diagnoses.js";
import { type ExaminedGroup, ofGroups, onlyDevice } from "../examined-group.js";

/** Opens what mode bits forbid (include/uapi/linux/capability.h). */
const CAP_DAC_OVERRIDE = 1n << 1n;

/** Whether the process may open the nodes of the groups that VFIO has. */
export const nodePermission: Check = {
  id: "IOSPAN-NODE-PERMISSION",
  title: "device nodes may be opened",
  run: (patient) => {
    const { kernel } = patient.survey;
    if (kernel === undefined) return patient.devices.length === 0 ? [] : [noKernel];
    return ofGroups(patient, (group) => (group.isOnVfio ? [look(kernel, group)] : []));
  },
};

function look(kernel: KernelFacts, group: ExaminedGroup): Diagnosis {
  const node = `/dev/vfio/${group.number}`;
  const device = onlyDevice(group);
  const answer = group.facts?.answer;
  if (answer?.asked === "answered") return passed(`${node} was opened`, { device });
  if (answer?.asked === "refused" && answer.code === "ERR_IOSPAN_NO_PERMISSION") return byAnswer(answer, node, device);
  if (answer?.asked === "refused" && OPENED.includes(answer.code)) return passed(`${node} was opened`, { device });
  const { nodes } = kernel.vfio;
  if (nodes === undefined) return untold("/dev was not read", { fix: [TRY], device });
  if (!nodes.has(node)) return missing(node, group, nodes);
  const container = ofBits(CONTAINER, nodes.get(CONTAINER), kernel.process, device);
  return container.outcome === "FAIL" ? container : ofBits(node, nodes.get(node), kernel.process, device);
}

/** What containers are opened by; everybody may, usually. */
const CONTAINER = "/dev/vfio/vfio";

/** The library knows which node it was and what helps. Mode bits are answered with EACCES; EPERM is the device cgroup's. */
function byAnswer(
  { message, hint, errno: number }: Extract<GroupAnswer, { asked: "refused" }>,
  node: string,
  device: string | undefined,
): Diagnosis {
  const refused = message.startsWith(CONTAINER) ? CONTAINER : node;
  if (number !== errno.EPERM) return forbidden(refused, [message], device);
  return failed(`${refused} may not be opened whoever asks: the device cgroup forbids it`, {
    evidence: [
      message,
      "cgroup v1 lists what it allows in devices.list; v2 does it with a BPF program, which cannot be looked into",
    ],
    fix: [hint],
    device,
  });
}

/** Refusals that come when permissions have been looked at. */
const OPENED: readonly string[] = [
  "ERR_IOSPAN_ATTACH_REFUSED",
  "ERR_IOSPAN_GROUP_BUSY",
  "ERR_IOSPAN_GROUP_NOT_VIABLE",
  "ERR_IOSPAN_UNSAFE_INTERRUPTS",
];

const TRY = "have the node opened for a trial, on the machine itself: iospan doctor without --no-probe";
const RULE =
  'for good: the line SUBSYSTEM=="vfio", OWNER="NAME" in /etc/udev/rules.d/70-vfio.rules; then udevadm control --reload';

function forbidden(node: string, evidence: readonly string[], device: string | undefined): Diagnosis {
  return failed(`${node} may not be opened by this user`, {
    evidence,
    fix:
      node === CONTAINER
        ? [`sudo chmod 0666 ${node} (its usual mode)`]
        : [`until the device is bound anew: sudo chown $USER ${node}`, RULE],
    device,
  });
}

function missing(node: string, group: ExaminedGroup, nodes: NonNullable<KernelFacts["vfio"]["nodes"]>): Diagnosis {
  const device = onlyDevice(group);
  if ([...nodes.keys()].some((path) => path.startsWith("/dev/vfio/devices/"))) {
    return passed(`the kernel has character devices instead of ${node}`, { device });
  }
  return failed(`a device of ${group.text} is on VFIO, and ${node} is not there`, {
    evidence: [`nodes: ${[...nodes.keys()].join(" ") || "none"}`],
    fix: [
      `in a container: have it passed in (--device ${node} --device /dev/vfio/vfio)`,
      "else see that udev runs, or devtmpfs is mounted on /dev",
    ],
    device,
  });
}

function ofBits(
  node: string,
  status: FileStatus | undefined,
  process: ProcessFacts,
  device: string | undefined,
): Diagnosis {
  const may = status === undefined ? undefined : mayOpen(status, process);
  if (status === undefined || may === undefined) {
    return untold(`who may open ${node} is not known here`, { fix: [TRY], device });
  }
  if (may) return passed(`mode bits of ${node} let this user in (a device cgroup is not seen in them)`, { device });
  return forbidden(
    node,
    [`${node}: mode ${(status.mode & 0o777).toString(8)}, owner ${status.uid}:${status.gid}; user ${process.uid}`],
    device,
  );
}

function mayOpen({ mode, uid, gid }: FileStatus, process: ProcessFacts): boolean | undefined {
  const { capabilities, hasAllUsers } = process;
  const overrides = capabilities !== undefined && (capabilities & CAP_DAC_OVERRIDE) !== 0n;
  if (overrides && hasAllUsers !== false) return true;
  if (process.uid === undefined) return undefined;
  if (process.uid === 0 && capabilities === undefined) return true;
  const shift = process.uid === uid ? 6 : process.groups?.includes(gid) === true ? 3 : 0;
  return ((mode >> shift) & 0o6) === 0o6;
}

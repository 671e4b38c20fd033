import type { KernelFacts } from "../../survey/survey.js";
import { bytesText } from "../bytes-text.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { failed, noKernel, passed, untold, warned } from "../diagnoses.js";
import { containerCount } from "../examined-device.js";
import { lastLines } from "../log-lines.js";

/** Lifts the limit, in the first user namespace (include/uapi/linux/capability.h). */
const CAP_IPC_LOCK = 1n << 14n;
/** What a program with DMA buffers of any size maps at once: a huge page. */
const LEAST = 2 ** 21;
const PLENTY = 2 ** 30;
/** vfio_iommu_type1.c, vfio_pin_pages_remote and vfio_pin_page_external. */
const EXCEEDED = /RLIMIT_MEMLOCK \((\d+)\) exceeded/;

/** Mapped pages are pinned, and count against RLIMIT_MEMLOCK once for each container (vfio_iommu_type1.c, vfio_lock_acct). */
export const memlock: Check = {
  id: "IOSPAN-MEMLOCK",
  title: "limit on locked memory",
  run: (patient) => {
    const { kernel } = patient.survey;
    return [kernel === undefined ? noKernel : look(patient, kernel)];
  },
};

function look(patient: Patient, kernel: KernelFacts): Diagnosis {
  const { memlock: limit, locked = 0, capabilities, hasAllUsers } = kernel.process;
  if (capabilities !== undefined && (capabilities & CAP_IPC_LOCK) !== 0n && hasAllUsers === true) {
    return passed("CAP_IPC_LOCK lifts it for this process; others have it: ulimit -l");
  }
  if (limit === undefined) return unknownLimit(lastLines(kernel.log, EXCEEDED), containerCount(patient));
  if (limit.soft === Number.POSITIVE_INFINITY) return passed("unlimited");
  const containers = containerCount(patient);
  const most = Math.max(0, limit.soft - locked) / containers;
  const counted = containers === 1 ? "" : `, since ${containers} containers count each page ${containers} times`;
  const text = `the limit is ${bytesText(limit.soft)}: at most ${bytesText(most)} can be mapped${counted}${withIommufd(kernel)}`;
  const exceeded = lastLines(kernel.log, EXCEEDED).filter((line) => Number(EXCEEDED.exec(line)?.[1]) >= limit.soft);
  if (exceeded.length === 0 && most >= PLENTY) return passed(text);
  const evidence = [
    `/proc/self/limits: Max locked memory ${limit.soft}`,
    ...(locked > 0 ? [`VmLck: ${locked / 1024} kB`] : []),
    ...exceeded,
  ];
  const details = { evidence, fix: raise(containers) };
  return exceeded.length > 0 || most < LEAST ? failed(text, details) : warned(text, details);
}

/** It counts for the user, and only this process's part is known (iommufd/pages.c, incr_user_locked_vm). */
function withIommufd({ process: { memlock, pinned = 0 }, vfio: { nodes } }: KernelFacts): string {
  if (memlock === undefined || nodes?.has("/dev/iommu") !== true) return "";
  const most = bytesText(Math.max(0, memlock.soft - pinned));
  return `; through an iommufd at most ${most}, less what this user's other processes pin there`;
}

/** The log tells of whoever tried, which is better than nothing. */
function unknownLimit(exceeded: readonly string[], containers: number): Diagnosis {
  const last = Number(EXCEEDED.exec(exceeded.at(-1) ?? "")?.[1]);
  if (exceeded.length > 0) {
    const text = `a process ran into its limit of ${bytesText(last)}`;
    return failed(text, { evidence: exceeded, fix: raise(containers) });
  }
  return untold("nobody tells the limit of the process that will open the devices", {
    fix: ["ulimit -l in its shell"],
  });
}

function raise(containers: number): readonly string[] {
  return [
    "in the shell: ulimit -l unlimited (as root, or up to the hard limit)",
    "in a systemd unit: LimitMEMLOCK=infinity",
    "for users: * - memlock unlimited in /etc/security/limits.conf, and log in again",
    `or as much as is mapped at once, times ${containers}, in bytes (systemd) or KiB (limits.conf)`,
  ];
}

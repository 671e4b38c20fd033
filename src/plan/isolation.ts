import type { KernelFacts } from "../survey/survey.js";
import type { InterruptsAsker } from "../vfio/isolated-interrupts.js";
import { isolationInLog } from "./isolation-evidence.js";
import { type Judgement, no, unknown, yes } from "./judgement.js";
import { moduleSwitch } from "./module-switch.js";
import { isForPci, type Subject } from "./subject.js";
import type { SurveyIndex } from "./survey-index.js";

/** Whether a device's interrupts are isolated, so that its DMA can trigger none of others, and who says so. */
export interface Isolation {
  /** Undefined where nobody tells. */
  readonly isolated: boolean | undefined;
  /** Lines and answers that it rests on. */
  readonly evidence: readonly string[];
  /** What tells, in words: `the kernel took its group`. */
  readonly because: string;
}

const NOBODY: Isolation = { isolated: undefined, evidence: [], because: "nothing read tells" };

/**
 * What is known of a device's interrupts: what the kernel answered when its group was opened counts, unless it was told not to
 * mind; else what the kernel's log and command line say of the machine. Whatever speaks of isolation goes by this.
 */
export function isolationOf(subject: Subject, index: SurveyIndex): Isolation {
  const { answer } = subject;
  if (answer?.asked === "refused" && answer.code === "ERR_IOSPAN_UNSAFE_INTERRUPTS") {
    const { evidence } = isolationInLog(subject, index.kernel) ?? NOBODY;
    return { isolated: false, evidence: [answer.message, ...evidence], because: "the kernel refused its group" };
  }
  const isProof = answer?.asked === "answered" && answer.by === "type1" && !allowsUnsafe("vfio_iommu_type1", index);
  if (isProof) return { isolated: true, evidence: [], because: "the kernel took its group" };
  return isolationInLog(subject, index.kernel) ?? NOBODY;
}

/** {@link Isolation.isolated} of {@link isolationOf}. */
export function isIsolated(subject: Subject, index: SurveyIndex): boolean | undefined {
  return isolationOf(subject, index).isolated;
}

/** Whether the module does without isolated interrupts; each has a switch of its own. */
export function allowsUnsafe(
  asker: InterruptsAsker,
  { kernel }: { readonly kernel: KernelFacts | undefined },
): boolean {
  return moduleSwitch(kernel?.vfio, `${asker}.allow_unsafe_interrupts`) === true;
}

/**
 * Whether a module takes the device as its interrupts are (vfio_iommu_type1.c, vfio_iommu_type1_attach_group; iommufd/device.c,
 * iommufd_bind_iommu). Where nobody knows, PCI functions are taken for isolated, as they are on nearly
 * all machines whose IOMMU is on; a platform device is only where firmware gives it an ITS. A trap says so.
 */
export function judgeIsolation(subject: Subject, asker: InterruptsAsker, index: SurveyIndex): Judgement {
  const { name } = subject.device;
  if (allowsUnsafe(asker, index)) return yes(`${asker} does not ask whether interrupts are isolated`);
  const { isolated, because } = isolationOf(subject, index);
  if (isolated === false) {
    return no(
      `${asker} refuses ${name}, whose interrupts are not isolated (EPERM; ${because}); ` +
        `echo 1 > /sys/module/${asker}/parameters/allow_unsafe_interrupts accepts the risk`,
    );
  }
  if (isolated === true) return yes(`its interrupts are isolated: ${because}`);
  // Somebody has switched the question off for one module, which is done where it is answered with no.
  if (index.kernel !== undefined && !isForPci(subject) && isAnywhereUnsafe(index)) {
    return unknown(`whether the interrupts of ${name} are isolated, as ${asker} demands, opening it tells`);
  }
  return yes("its interrupts are taken for isolated");
}

function isAnywhereUnsafe(index: SurveyIndex): boolean {
  return allowsUnsafe("vfio_iommu_type1", index) || allowsUnsafe("iommufd", index);
}

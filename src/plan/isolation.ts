import type { InterruptsAsker } from "../vfio/isolated-interrupts.js";
import { type Judgement, no, unknown, yes } from "./judgement.js";
import type { Subject } from "./subject.js";
import type { SurveyIndex } from "./survey-index.js";

/**
 * Whether a device's interrupts are isolated, so that its DMA can trigger none of others: true and false as the kernel answered
 * when its group was opened; undefined where it was not asked, or was told not to mind.
 */
export function isIsolated({ answer }: Subject, index: SurveyIndex): boolean | undefined {
  if (answer?.asked === "refused" && answer.code === "ERR_IOSPAN_UNSAFE_INTERRUPTS") return false;
  const mattered = !allowsUnsafe("vfio_iommu_type1", index);
  return answer?.asked === "answered" && answer.by === "type1" && mattered ? true : undefined;
}

/** Whether the module does without isolated interrupts; each has a switch of its own. */
export function allowsUnsafe(asker: InterruptsAsker, { kernel }: SurveyIndex): boolean {
  return /^[Yy1]/.test(kernel?.vfio.parameters.get(`${asker}.allow_unsafe_interrupts`) ?? "");
}

/**
 * Whether a module takes the device as its interrupts are (vfio_iommu_type1.c, vfio_iommu_type1_attach_group; iommufd/device.c,
 * iommufd_bind_iommu). Where nobody knows, PCI functions are taken for isolated, as they are on nearly
 * all machines whose IOMMU is on; a platform device is only where firmware gives it an ITS.
 */
export function judgeIsolation(subject: Subject, asker: InterruptsAsker, index: SurveyIndex): Judgement {
  const { name, bus } = subject.device;
  if (allowsUnsafe(asker, index)) return yes(`${asker} does not ask whether interrupts are isolated`);
  const isolated = isIsolated(subject, index);
  if (isolated === false) {
    return no(
      `${asker} refuses ${name}, whose interrupts are not isolated; ` +
        `echo 1 > /sys/module/${asker}/parameters/allow_unsafe_interrupts accepts the risk`,
    );
  }
  // Somebody has switched the question off for one module, which is done where it is answered with no.
  const suspicious = index.kernel !== undefined && bus === "platform" && isAnywhereUnsafe(index);
  if (isolated === undefined && suspicious) {
    return unknown(`whether the interrupts of ${name} are isolated, as ${asker} demands, opening it tells`);
  }
  return yes("its interrupts are isolated, as far as is known");
}

function isAnywhereUnsafe(index: SurveyIndex): boolean {
  return allowsUnsafe("vfio_iommu_type1", index) || allowsUnsafe("iommufd", index);
}

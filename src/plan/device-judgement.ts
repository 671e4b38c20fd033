import { judgeCoherency } from "./coherency.js";
import { allOf, type Judgement, no } from "./judgement.js";
import { judgeRequiredMapping } from "./required-mapping.js";
import type { Subject } from "./subject.js";
import type { SurveyIndex } from "./survey-index.js";
import { judgeTranslation } from "./translation.js";

/** Whether VFIO can hand the device out, once it is bound, whatever it shares with others. */
export function judgeDevice(subject: Subject, index: SurveyIndex): Judgement {
  const bus = judgeBus(subject, index);
  if (bus !== undefined) return bus;
  const { device } = subject;
  if (!device.enabled) return no(`${device.name} is off: ${device.disabledBecause ?? "disabled"}`);
  const translation = judgeTranslation(subject, index);
  if (translation.verdict === "no") return translation;
  return allOf(translation, judgeCoherency(subject, index), judgeRequiredMapping(subject, index));
}

/** Undefined for what can be handed out. */
function judgeBus({ device, isForFunctions }: Subject, index: SurveyIndex): Judgement | undefined {
  const { name, bus, isBus, paths } = device;
  if (!isForFunctions && index.isBridge(device)) {
    // vfio_pci_core.c, vfio_pci_core_register_device
    return no(`${name} is a PCI bridge, and VFIO takes endpoints only`);
  }
  if (bus !== "pci" && bus !== "platform") {
    return no(`${name} is on the bus ${bus}, and iospan speaks of PCI and platform devices with VFIO only`);
  }
  if (isBus && paths.sysfs !== undefined && device.links.every(({ via }) => via === "iommu-map")) {
    return no(`${name} is a bus itself: name the devices on it`);
  }
  return undefined;
}

import { judgeCoherency } from "../../plan/coherency.js";
import { subjectOf } from "../../plan/subject.js";
import { SurveyIndex } from "../../plan/survey-index.js";
import type { TopologyDevice } from "../../topology/topology.js";
import type { Check, Diagnosis } from "../check.js";
import { failed, passed, untold, warned } from "../diagnoses.js";
import { factsOf } from "../examined-device.js";

/** VFIO maps with IOMMU_CACHE always, and refuses what cannot keep that promise (vfio_main.c, __vfio_register_dev). */
export const coherency: Check = {
  id: "IOSPAN-COHERENCY",
  title: "DMA coherent with caches",
  run: (patient) => {
    const index = new SurveyIndex(patient.survey);
    const translated = patient.devices.filter(
      (device) => device.links.length > 0 && factsOf(patient.survey, device)?.noiommu !== true,
    );
    return translated.map((device) => look(device, index));
  },
};

const DMA_COHERENT =
  "where the hardware is coherent, say dma-coherent in the IOMMU's node of the device tree (IORT: the COHACC override), or, " +
  "behind an SMMUv1 or v2, in the device's; " +
  "where it is not, VFIO cannot be used with it";

function look(device: TopologyDevice, index: SurveyIndex): Diagnosis {
  const { name } = device;
  const { verdict, reason } = judgeCoherency(subjectOf(name, device, index), index);
  switch (verdict) {
    case "no":
      return failed(reason, { fix: [DMA_COHERENT], device: name });
    case "unknown":
      return untold(reason, {
        fix: ["read firmware, too: as root, or with --device-tree or --iort", `or bind it: sudo iospan bind ${name}`],
        device: name,
      });
    case "yes":
      return device.coherent === false ? ownCaches(device) : passed(reason, { device: name });
  }
}

/** Programs in user space cannot write back or invalidate caches for DMA, and VFIO does not do it for them. */
function ownCaches({ name }: TopologyDevice): Diagnosis {
  return warned(
    `firmware says that the DMA of ${name} is not coherent: it may not see what the processor has in its caches`,
    {
      fix: [
        "if the interconnect does snoop for it, say dma-coherent in its node; if not, memory would have to be uncached",
      ],
      device: name,
    },
  );
}

import { explainFault } from "../../faults/explain-fault.js";
import type { IommuFault } from "../../faults/fault.js";
import { groupFaults } from "../../faults/fault-groups.js";
import { readFaults } from "../../faults/fault-reader.js";
import type { TopologyDevice } from "../../topology/topology.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { noKernel, noLog, passed, warned } from "../diagnoses.js";

/** DMA of these devices that an IOMMU refused since the log begins. */
export const faults: Check = {
  id: "IOSPAN-FAULTS",
  title: "no DMA refused",
  run: (patient) => {
    const { kernel } = patient.survey;
    if (patient.devices.length === 0) return [];
    if (kernel === undefined) return [noKernel];
    if (kernel.log === undefined) return [noLog];
    const found = readFaults(kernel.log).faults;
    const bad = patient.devices.flatMap((device) => look(patient, device, found));
    return bad.length > 0 ? bad : [passed("the kernel's log has none of these devices")];
  },
};

function look(patient: Patient, device: TopologyDevice, all: readonly IommuFault[]): readonly Diagnosis[] {
  const own = all.filter((fault) => isOf(patient, device, fault));
  const [first] = own;
  if (first === undefined) return [];
  const { summary, advice } = explainFault(first);
  const kinds = groupFaults(own).length;
  return [
    warned(
      `${own.length === 1 ? "an access" : `${own.length} accesses`} of ${device.name} ${own.length === 1 ? "was" : "were"} refused: ${summary}`,
      {
        evidence: [`the kernel's log, line ${first.line}${kinds > 1 ? `, and ${kinds - 1} more kinds` : ""}`],
        fix: [advice, "sudo iospan faults tells them all"],
        device: device.name,
      },
    ),
  ];
}

/** By the name in the log; without one by the StreamID, where the IOMMU is the same or is not known. */
function isOf({ survey }: Patient, device: TopologyDevice, fault: IommuFault): boolean {
  if (fault.device?.from === "log") return fault.device.name === device.name;
  const { streamId } = fault;
  if (streamId === undefined) return false;
  return device.links.some(({ iommu, ids }) => {
    const own = survey.topology.iommus.find(({ path }) => path === iommu);
    if (fault.iommu !== undefined && own?.device !== undefined && own.device !== fault.iommu) return false;
    return ids.some(({ first, count }) => streamId >= first && streamId < first + count);
  });
}

import type { GroupFacts } from "../survey/survey.js";
import type { TopologyDevice, TopologyGroup } from "../topology/topology.js";
import type { Diagnosis, Patient } from "./check.js";
import { factsOf, iommusOf, isOnVfio } from "./examined-device.js";

/** The group of an examined device. */
export interface ExaminedGroup {
  readonly number: number;
  /** Those of its devices that are examined. */
  readonly devices: readonly TopologyDevice[];
  /** Its other devices. */
  readonly companions: readonly TopologyDevice[];
  readonly topology: TopologyGroup | undefined;
  readonly facts: GroupFacts | undefined;
  /** Whether one of its devices is on a VFIO driver, so that the group has a node. */
  readonly isOnVfio: boolean;
  /** Made up by VFIO for a device without an IOMMU. */
  readonly noiommu: boolean;
  /** What messages call it: `group 7 (0000:01:00.0)`. */
  readonly text: string;
  /** The IOMMU in front of it, by name; the group's text where it is not known. */
  readonly iommu: string;
}

/** The groups of the examined devices, each once, in the order of the devices. */
export function examinedGroups(patient: Patient): readonly ExaminedGroup[] {
  const numbers = new Set(patient.devices.flatMap(({ group }) => (typeof group === "number" ? [group] : [])));
  return [...numbers].map((number) => examinedGroup(patient, number));
}

function examinedGroup({ survey, devices }: Patient, number: number): ExaminedGroup {
  const members = survey.topology.devices.filter(({ group }) => group === number);
  const examined = devices.filter(({ group }) => group === number);
  const text = `group ${number} (${examined.map(({ name }) => name).join(", ")})`;
  const [iommu] = examined.flatMap((device) => iommusOf(survey, device));
  return {
    number,
    devices: examined,
    companions: members.filter((member) => !examined.includes(member)),
    topology: survey.topology.groups.find((group) => group.number === number),
    facts: survey.kernel?.groups.get(number),
    isOnVfio: members.some((member) => isOnVfio(survey, member)),
    noiommu: members.some((member) => factsOf(survey, member)?.noiommu === true),
    text,
    iommu: iommu?.name ?? text,
  };
}

/** The name of the only examined device of a group, for diagnoses that are about it. */
export function onlyDevice({ devices }: ExaminedGroup): string | undefined {
  return devices.length === 1 ? devices[0]?.name : undefined;
}

/** A check that looks at each group that VFIO has; those without an IOMMU are another check's. */
export function ofGroups(patient: Patient, look: (group: ExaminedGroup) => readonly Diagnosis[]): readonly Diagnosis[] {
  return examinedGroups(patient)
    .filter(({ noiommu }) => !noiommu)
    .flatMap(look);
}

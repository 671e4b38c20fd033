import type { Survey } from "../survey/survey.js";
import { judgeDevice } from "./device-judgement.js";
import type { PlannedDevice } from "./plan.js";
import { plannedDevice } from "./planned-device.js";
import { subjectOf } from "./subject.js";
import { isOnVfio, SurveyIndex } from "./survey-index.js";

/** What plans can be made for on a machine. */
export interface Candidates {
  /** Devices that VFIO can hand out, or may: those that it has come first. */
  readonly devices: readonly PlannedDevice[];
  /** Devices that have several interfaces among these, by name, with the interfaces' names. */
  readonly engines: readonly { readonly name: string; readonly interfaces: readonly string[] }[];
  /** How many devices are behind an IOMMU, and not among them. */
  readonly others: number;
}

/** The devices that a plan may be made for. */
export function planCandidates(survey: Survey): Candidates {
  const index = new SurveyIndex(survey);
  const behind = survey.topology.devices.filter(({ links }) => links.length > 0);
  const devices = behind
    .map((device) => subjectOf(device.name, device, index))
    .map((subject) => plannedDevice(subject, judgeDevice(subject, index)))
    .filter(({ verdict }) => verdict !== "no")
    .sort((a, b) => Number(isOnVfio(b)) - Number(isOnVfio(a)));
  const names = new Map(devices.map(({ path, name }) => [path, name]));
  const engines = survey.topology.engines
    .map(({ name, interfaces }) => ({ name, interfaces: interfaces.flatMap((path) => names.get(path) ?? []) }))
    .filter(({ interfaces }) => interfaces.length > 1);
  return { devices, engines, others: behind.length - devices.length };
}

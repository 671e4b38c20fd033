import { findPlanned } from "../plan/find-devices.js";
import type { Survey } from "../survey/survey.js";
import type { TopologyDevice } from "../topology/topology.js";
import type { Check, Diagnosis, Outcome, Patient } from "./check.js";
import { checks } from "./checks.js";
import { factsOf, isOnVfio } from "./examined-device.js";

/** What a check came to. */
export interface CheckResult extends Pick<Check, "id" | "title"> {
  /** The worst of its diagnoses. */
  readonly outcome: Outcome;
  readonly diagnoses: readonly Diagnosis[];
  /** Where it is explained, a path in the package with an anchor: `docs/doctor.md#iospan-memlock`. */
  readonly page: string;
}

/** What all checks came to. */
export interface Examination {
  /** Kernel names of the devices that were examined. */
  readonly devices: readonly string[];
  /** In the order in which what they found should be mended; without those that nothing here concerns. */
  readonly checks: readonly CheckResult[];
  /** Ids of checks that nothing on this machine, or no device in question, concerns. */
  readonly leftOut: readonly string[];
  /** `FAIL` before `WARN`, `CANNOT-CHECK` and `PASS`. */
  readonly worst: Outcome;
}

/** How {@link examine} goes about it. */
export interface ExamineOptions {
  /** Only these checks; all where absent. */
  readonly only?: readonly Check[] | undefined;
}

/**
 * Looks for what keeps devices from user space, and from one I/O address space, on the machine of a survey: nothing is opened
 * and nothing changed.
 * @param names as `iospan plan` takes them. Without any: devices on VFIO drivers, those with a `driver_override` of VFIO's, and
 * the interfaces of engines that the device tree tells of.
 * @throws IospanError `ERR_IOSPAN_NO_DEVICE` for a name that there is not.
 */
export function examine(
  survey: Survey,
  names: readonly string[] = [],
  { only = checks }: ExamineOptions = {},
): Examination {
  const named = names.map((name) => findPlanned(survey.topology, name));
  const devices = named.length > 0 ? [...new Set(named)] : devicesForVfio(survey);
  const all = only.map((check) => resultOf(check, { survey, devices }));
  const results = all.filter(({ diagnoses }) => diagnoses.length > 0);
  return {
    devices: devices.map(({ name }) => name),
    checks: results,
    leftOut: all.filter(({ diagnoses }) => diagnoses.length === 0).map(({ id }) => id),
    worst: worstOf(results.map(({ outcome }) => outcome)),
  };
}

/** Where a check is explained, a path in the package with an anchor. */
export function pageOf(id: string): string {
  return `docs/doctor.md#${id.toLowerCase()}`;
}

function resultOf(check: Check, patient: Patient): CheckResult {
  const { id, title } = check;
  const diagnoses = check.run(patient);
  return { id, title, outcome: worstOf(diagnoses.map(({ outcome }) => outcome)), diagnoses, page: pageOf(id) };
}

const BY_WEIGHT: readonly Outcome[] = ["FAIL", "WARN", "CANNOT-CHECK", "PASS"];

function worstOf(found: readonly Outcome[]): Outcome {
  return BY_WEIGHT.find((outcome) => found.includes(outcome)) ?? "PASS";
}

function devicesForVfio(survey: Survey): readonly TopologyDevice[] {
  const { devices, engines } = survey.topology;
  const interfaces = new Set(engines.flatMap((engine) => engine.interfaces));
  return devices.filter(
    (device) =>
      interfaces.has(device.path) ||
      isOnVfio(survey, device) ||
      factsOf(survey, device)?.driverOverride?.includes("vfio") === true,
  );
}

import type { Survey } from "../survey/survey.js";
import type { TopologyDevice } from "../topology/topology.js";

/** Every {@link Outcome}. */
export const outcomes = ["PASS", "WARN", "FAIL", "CANNOT-CHECK"] as const;

/** What a check comes to. `CANNOT-CHECK`: what it looks at cannot be read, and `evidence` says why. */
export type Outcome = (typeof outcomes)[number];

/** One thing that goes wrong on real machines, and how to tell. */
export interface Check {
  /** Stable: `IOSPAN-MEMLOCK`. Its page in docs/doctor.md has the same heading. */
  readonly id: string;
  /** What is looked at, in a few words: `limit on locked memory`. */
  readonly title: string;
  /** @returns what there is to say, an entry for each device or thing concerned; one PASS where all is well. */
  run(patient: Patient): readonly Diagnosis[];
}

/** What is examined. */
export interface Patient {
  readonly survey: Survey;
  /** Those that were named; without names those that VFIO has, or that have a VFIO `driver_override`. */
  readonly devices: readonly TopologyDevice[];
}

/** What a check found. */
export interface Diagnosis {
  readonly outcome: Outcome;
  /** What was found, in words: `the limit is 8 MiB, and 2 containers count each page twice`. */
  readonly text: string;
  /** Where it was seen, line by line: `/proc/self/limits: Max locked memory 8388608`. */
  readonly evidence: readonly string[];
  /** Commands or settings that mend it, line by line; empty where nothing is wrong. */
  readonly fix: readonly string[];
  /** The device's kernel name, where it is about one. */
  readonly device: string | undefined;
}

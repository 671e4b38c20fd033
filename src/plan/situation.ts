import type { TopologyIommu } from "../topology/topology.js";
import type { Judgement } from "./judgement.js";
import type { PlannedRanges } from "./plan.js";
import type { Subject } from "./subject.js";
import type { SurveyIndex } from "./survey-index.js";

/** Devices that shall share an address space, as the strategies look at them. */
export interface Situation {
  readonly index: SurveyIndex;
  readonly subjects: readonly Subject[];
  /** Of each device, whether VFIO can hand it out. */
  readonly judgements: readonly Judgement[];
  /** What `mirrored` has containers by; see `iommuKeys`. */
  readonly keys: readonly string[];
  readonly ranges: PlannedRanges;
  /** All IOMMUs of the devices, each once. */
  readonly iommus: readonly TopologyIommu[];
}

/** Names in a sentence: `a`, `a and b`, `a, b and c`. */
export function inWords(names: readonly string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

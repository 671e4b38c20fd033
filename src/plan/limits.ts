import type { IovaRange } from "../iova.js";
import {
  complement,
  explainRanges,
  type IovaRangeSource,
  intersect,
  intersectPageSizes,
  normalize,
  type PageSizeSource,
  smallestPageSize,
  wholeIovaSpace,
} from "../space/iova-ranges.js";
import type { StrategyName } from "../space/strategies/strategy.js";
import type { GroupAnswer } from "../survey/survey.js";
import type { PlannedPageSizes, PlannedRanges } from "./plan.js";
import { forbidden, reservedOf } from "./reserved.js";
import { inWords, type Situation } from "./situation.js";
import { iommuKey, possibleKeys, type Subject } from "./subject.js";
import { grouped, type SurveyIndex } from "./survey-index.js";

/** What the kernel said of the device's group when it was asked; undefined where it was not, or refused. */
export function answeredInfo({ answer }: Subject): Extract<GroupAnswer, { asked: "answered" }> | undefined {
  return answer?.asked === "answered" ? answer : undefined;
}

/**
 * What a yes is conditional on, to go behind it; empty where the kernel has told what the IOMMUs' pages are. Hardly any IOMMU
 * lacks the processor's own.
 */
export function pageProviso({ subjects }: Situation): string {
  const unknown = subjects.filter((subject) => answeredInfo(subject) === undefined).map(iommuKey);
  const names = [...new Set(unknown)];
  return names.length === 0
    ? ""
    : `, provided that ${inWords(names)} ${names.length === 1 ? "has" : "have"} pages of the processor's size`;
}

/** The devices of each IOMMU that translates for one. */
function perIommu({ subjects }: Pick<Situation, "subjects">): ReadonlyMap<string, readonly Subject[]> {
  return grouped(subjects, possibleKeys);
}

/** Which IOVAs all IOMMUs translate: as the kernel answered; else all but what is reserved, and the IOMMU is among the unknown. */
export function planRanges(situation: Pick<Situation, "subjects" | "index">): PlannedRanges {
  const sources: IovaRangeSource[] = [];
  const unknown: string[] = [];
  for (const [source, subjects] of perIommu(situation)) {
    const lists = subjects.map((subject) => rangesOf(subject, situation.index));
    sources.push({ source, ranges: lists.reduce((common, ranges) => intersect(common, ranges), [wholeIovaSpace]) });
    if (subjects.some((subject) => answeredInfo(subject) === undefined)) unknown.push(source);
  }
  return { known: explainRanges(sources), unknown };
}

function rangesOf(subject: Subject, index: SurveyIndex): IovaRange[] {
  const info = answeredInfo(subject);
  if (info !== undefined) return normalize(info.ranges);
  return complement(normalize(forbidden(reservedOf(subject, index))));
}

/**
 * Which page sizes all IOMMUs have. @param strategy the one that will be used: containers of their own map what is a multiple of
 * each one's smallest page, one for all only what all have.
 */
export function planPageSizes(situation: Situation, strategy: StrategyName | undefined): PlannedPageSizes {
  const sources: PageSizeSource[] = [];
  const unknown: string[] = [];
  for (const [source, subjects] of perIommu(situation)) {
    const infos = subjects.flatMap((subject) => answeredInfo(subject) ?? []);
    if (infos.length < subjects.length) unknown.push(source);
    else sources.push({ source, bitmap: infos.reduce((common, { pageSizes }) => common & pageSizes, 2n ** 64n - 1n) });
  }
  const known = intersectPageSizes(sources);
  const page = situation.index.kernel?.pageSize;
  if (unknown.length > 0 || page === undefined) return { known, unknown, granule: undefined };
  const bitmaps =
    strategy === undefined || strategy === "mirrored" ? sources.map(({ bitmap }) => bitmap) : [known.bitmap];
  return { known, unknown, granule: Math.max(page, ...bitmaps.map((bitmap) => smallestPageSize(bitmap) ?? page)) };
}

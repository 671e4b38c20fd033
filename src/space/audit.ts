import { type IovaRange, iova } from "../iova.js";
import { type MappingRecord, rangeOf } from "./ledger.js";
import type { MapTarget } from "./strategies/strategy.js";

/**
 * `missing`, `partial`: the ledger has a mapping that the IOMMU has not, or not all of. `stray`: something is mapped where
 * the ledger has nothing. `count`: the kernel counts other mappings than the ledger. `revoked`: the kernel counts the mapping,
 * but has taken the registers from it, see `Mapping.revoked`.
 */
export const auditProblems = ["missing", "partial", "stray", "count", "revoked"] as const;
/** One of {@link auditProblems}. */
export type AuditProblem = (typeof auditProblems)[number];

/** One disagreement between the ledger and the kernel. */
export interface AuditDifference {
  readonly problem: AuditProblem;
  /** The IOMMUs of the container it was found in. */
  readonly iommus: string;
  /** Where; absent for `count`. */
  readonly range?: IovaRange;
  /** For `count`: mappings by the ledger and by the kernel. */
  readonly expected?: number;
  readonly found?: number;
}

/** What {@link IoAddressSpace.audit} found. */
export interface AuditReport {
  /**
   * What the ledger has is mapped everywhere, and nothing else is. Of which memory it is, with which access, and whether an
   * iommufd still translates to registers, the kernel does not tell: `revoked` is what this process knows of it.
   */
  readonly consistent: boolean;
  readonly differences: readonly AuditDifference[];
  /** Mappings asked about, over all containers. */
  readonly checked: number;
}

/** What one target should have. */
export interface AuditSubject {
  readonly target: MapTarget;
  /** Ascending by IOVA. */
  readonly records: readonly MappingRecord[];
  /** How many mappings it took when it was empty; undefined where the kernel does not tell. */
  readonly capacity: number | undefined;
  /** Bytes of the smallest mapping. */
  readonly pageSize: number;
}

/** Asks the kernel about every mapping and every gap between them. Changes nothing. */
export function audit(subjects: readonly AuditSubject[]): AuditReport {
  const differences = subjects.flatMap((subject) => [
    ...mappingProblems(subject),
    ...revoked(subject),
    ...strays(subject),
    ...counts(subject),
  ]);
  const checked = subjects.reduce((sum, { records }) => sum + records.length, 0);
  return { consistent: differences.length === 0, differences, checked };
}

/**
 * A container is asked about the first and the last page: a mapping is one entry there, so that with the count right it is
 * all there. Who does not count can be asked about the whole.
 */
function mappingProblems({ target, records, pageSize }: AuditSubject): AuditDifference[] {
  const differences: AuditDifference[] = [];
  for (const record of records) {
    const range = rangeOf(record);
    const last = iova(range.end - BigInt(pageSize) + 1n);
    const ends = [record.iova, last].filter((page) => target.isMapped(page, BigInt(pageSize))).length;
    const whole = ends === 2 && (target.isWhole?.(record.iova, BigInt(record.size)) ?? true);
    if (!whole) differences.push({ problem: ends === 0 ? "missing" : "partial", iommus: target.iommus, range });
  }
  return differences;
}

function revoked({ target, records }: AuditSubject): AuditDifference[] {
  const { iommus } = target;
  const gone = records.filter(({ memory }) => memory.revoked);
  return gone.map((record) => ({ problem: "revoked" as const, iommus, range: rangeOf(record) }));
}

/** The kernel refuses a question about a range that wraps when added to an address, so the largest are split. */
const MOST_PROBED = 2n ** 62n;

function strays({ target, records }: AuditSubject): AuditDifference[] {
  return gaps(target, records)
    .filter(({ start, end }) => target.isMapped(start, end - start + 1n))
    .map((range) => ({ problem: "stray" as const, iommus: target.iommus, range }));
}

function gaps(target: MapTarget, records: readonly MappingRecord[]): IovaRange[] {
  const last = target.info().ranges.at(-1)?.end ?? 0n;
  const found: IovaRange[] = [];
  let next = 0n;
  for (const record of records) {
    pushGap(found, next, record.iova - 1n);
    next = rangeOf(record).end + 1n;
  }
  pushGap(found, next, last);
  return found;
}

function pushGap(found: IovaRange[], start: bigint, end: bigint): void {
  for (let at = start; at <= end; at += MOST_PROBED) {
    const upTo = at + MOST_PROBED - 1n;
    found.push({ start: iova(at), end: iova(upTo < end ? upTo : end) });
  }
}

function counts({ target, records, capacity }: AuditSubject): AuditDifference[] {
  const { available } = target.info();
  if (capacity === undefined || available === undefined) return [];
  const found = capacity - available;
  if (found === records.length) return [];
  return [{ problem: "count", iommus: target.iommus, expected: records.length, found }];
}

import type { IommuFault } from "./fault.js";

/** Faults that are one fault again and again: of one device, kind, page and direction. */
export interface FaultGroup {
  /** The first of them, which stands for all. */
  readonly first: IommuFault;
  readonly last: IommuFault;
  readonly count: number;
}

const PAGE_BITS = 12n;

/**
 * Counts what repeats, in the order of the first of each. Pages are taken to have 4096 bytes, the fewest that these IOMMUs
 * have: a page that is larger may have several groups, a group is never of several pages.
 */
export function groupFaults(faults: readonly IommuFault[]): readonly FaultGroup[] {
  const counter = new FaultCounter();
  for (const fault of faults) counter.add(fault);
  return counter.groups;
}

/**
 * {@link groupFaults} for faults that come one by one: it holds two of each group.
 * @internal
 */
export class FaultCounter {
  readonly #groups = new Map<string, FaultGroup>();

  get groups(): readonly FaultGroup[] {
    return [...this.#groups.values()];
  }

  /** @returns the group that the fault is now in. */
  add(fault: IommuFault): FaultGroup {
    const key = keyOf(fault);
    const before = this.#groups.get(key);
    const group = { first: before?.first ?? fault, last: fault, count: (before?.count ?? 0) + 1 };
    this.#groups.set(key, group);
    return group;
  }
}

/** What faults of one {@link FaultGroup} have in common, as text. */
function keyOf(fault: IommuFault): string {
  const { format, iommu, type, device, streamId, substreamId, access, address, fetchAddress, detail } = fault;
  const page = address === undefined ? undefined : address >> PAGE_BITS;
  const facts = [format, iommu, type, device?.name, streamId, substreamId, access, page, fetchAddress, detail];
  return facts.map((fact) => fact ?? "").join("|");
}

import type { DomainMapping } from "./iommu/iommu.js";
import type { VfioContainer } from "./vfio/vfio-container.js";

/** A container as a test or a picture wants to see it. */
export interface ContainerSnapshot {
  /** Numbers of the groups inside, most recently added first. */
  readonly groups: readonly number[];
  /** Undefined before SET_IOMMU. */
  readonly type1: Type1Snapshot | undefined;
}

/** What type1 holds. */
export interface Type1Snapshot {
  readonly v2: boolean;
  /** Newest first. */
  readonly domains: readonly DomainSnapshot[];
  /** One for each MAP_DMA that is not undone, by IOVA. */
  readonly dmas: readonly {
    readonly iova: number;
    readonly size: number;
    readonly vaddr: number;
    readonly read: boolean;
    readonly write: boolean;
  }[];
  readonly available: number;
  readonly ranges: readonly { readonly start: number; readonly end: number }[];
  /** Pages it counts against the process's locked memory. */
  readonly lockedPages: number;
}

/** One IOMMU domain of a container. */
export interface DomainSnapshot {
  /** The IOMMU it is a domain of. */
  readonly iommu: string;
  readonly groups: readonly number[];
  /** What the IOMMU translates. */
  readonly mappings: readonly DomainMapping[];
}

/** Takes the picture. */
export function snapshot({ groups, backend }: VfioContainer): ContainerSnapshot {
  return { groups: groups.map(({ id }) => id), type1: backend && snapshotType1(backend.state) };
}

type State = NonNullable<VfioContainer["backend"]>["state"];

function snapshotType1({ v2, domains, dmas, available, ranges }: State): Type1Snapshot {
  const entries = [...dmas].map(({ value }) => value);
  return {
    v2,
    available,
    domains: domains.map(({ domain, groups }) => ({
      iommu: domain.iommu.name,
      groups: groups.map(({ id }) => id),
      mappings: domain.mappings(),
    })),
    dmas: entries.map(({ iova, size, vaddr, protection }) => ({ iova, size, vaddr, ...protection })),
    ranges: ranges.ranges.map(({ start, end }) => ({ start, end })),
    lockedPages: entries.reduce((pages, { lockedPages }) => pages + lockedPages, 0),
  };
}

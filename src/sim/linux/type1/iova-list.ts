import type { ReservedDescription } from "../description.js";

/** A range of I/O virtual addresses; the last one is inside. */
export interface Range {
  start: number;
  end: number;
}

/** The addresses that a container's mappings may use, with the list operations of vfio_iommu_type1.c (vfio_iommu_iova_*). */
export class IovaList {
  #ranges: Range[];

  constructor(ranges: readonly Range[] = []) {
    this.#ranges = ranges.map((range) => ({ ...range }));
  }

  get ranges(): readonly Range[] {
    return this.#ranges;
  }

  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }

  copy(): IovaList {
    return new IovaList(this.#ranges);
  }

  /** Installs what a copy has become. */
  replaceBy(other: IovaList): void {
    this.#ranges = other.#ranges;
  }

  clear(): void {
    this.#ranges = [];
  }

  /** Whether one range holds all of it. An empty list means that nobody limits anything. */
  contains(start: bigint, last: bigint): boolean {
    return this.isEmpty || this.#ranges.some((range) => BigInt(range.start) <= start && last <= BigInt(range.end));
  }

  /** The lowest and highest address. */
  get span(): Range | undefined {
    const first = this.#ranges[0];
    const last = this.#ranges.at(-1);
    return first === undefined || last === undefined ? undefined : { start: first.start, end: last.end };
  }

  /** vfio_iommu_aper_resize: cuts off what lies outside. */
  shrink({ start, end }: Range): void {
    if (this.isEmpty) {
      this.#ranges = [{ start, end }];
      return;
    }
    this.#ranges = this.#ranges
      .map((range) => ({ start: Math.max(range.start, start), end: Math.min(range.end, end) }))
      .filter((range) => range.start < range.end);
  }

  /** vfio_iommu_aper_expand: the outer ends move to those of an aperture; holes stay. */
  widen({ start, end }: Range): void {
    const first = this.#ranges[0];
    const last = this.#ranges.at(-1);
    if (first !== undefined) first.start = start;
    if (last !== undefined) last.end = end;
  }

  /** vfio_iommu_resv_exclude: cuts holes, but not for what the kernel itself may give up. */
  exclude(reserved: readonly ReservedDescription[]): void {
    for (const region of reserved) {
      if (region.type !== "direct-relaxable") this.#ranges = this.#ranges.flatMap((range) => without(range, region));
    }
  }
}

function without({ start, end }: Range, hole: Range): Range[] {
  if (hole.start > end || hole.end < start) return [{ start, end }];
  return [
    ...(hole.start > start ? [{ start, end: hole.start - 1 }] : []),
    ...(hole.end < end ? [{ start: hole.end + 1, end }] : []),
  ];
}

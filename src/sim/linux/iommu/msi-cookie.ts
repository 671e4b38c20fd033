import type { IommuDomain } from "./iommu.js";

/** A write to a doorbell is all it is for; nothing caches it. */
const DOORBELL_ACCESS = { read: false, write: true, device: true } as const;

/**
 * Where the doorbells of interrupt controllers are mapped, one page after the other, for devices to reach them through their
 * IOMMU (drivers/iommu/dma-iommu.c, iommu_dma_get_msi_page). Domains may share one: a doorbell is at the same IOVA in all.
 */
export class MsiCookie {
  #next: number;
  readonly #pageSize: number;
  /** IOVAs by physical address, of pages. */
  readonly #pages = new Map<number, number>();
  readonly #mapped = new WeakMap<IommuDomain, Set<number>>();

  /** @param start the first IOVA to use */
  constructor(start: number, pageSize: number) {
    this.#next = start;
    this.#pageSize = pageSize;
  }

  /** Has the domain translate every doorbell that is known so far (iommufd: iommufd_group_setup_msi). */
  install(domain: IommuDomain): void {
    for (const page of this.#pages.keys()) this.reach(domain, page);
  }

  /** The IOVA of a doorbell, which the domain translates from now on. Refuses as {@link IommuDomain.map}. */
  reach(domain: IommuDomain, doorbell: number): number {
    const offset = doorbell % this.#pageSize;
    const page = doorbell - offset;
    const iova = this.#pages.get(page) ?? this.#next;
    const mapped = this.#mapped.get(domain) ?? new Set();
    if (!mapped.has(iova)) {
      domain.map(iova, page, this.#pageSize, DOORBELL_ACCESS);
      this.#mapped.set(domain, mapped.add(iova));
    }
    if (!this.#pages.has(page)) this.#next += this.#pageSize;
    this.#pages.set(page, iova);
    return iova + offset;
  }
}

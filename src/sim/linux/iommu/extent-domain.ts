import { IntervalMap } from "../../interval-map.js";
import { refuse } from "../refusal.js";
import type { DmaProtection, DomainMapping, Iommu, IommuDomain, Translation } from "./iommu.js";

interface Target extends DmaProtection {
  readonly physicalAddress: number;
}

/** What an SMMU can address, as its driver's page tables are set up for it. */
export interface Geometry {
  readonly pageSizes: bigint;
  readonly stage: 1 | 2;
  /** Bits of an IOVA. */
  readonly inputBits: number;
  /** Bits of a physical address. */
  readonly outputBits: number;
}

/** Why an access does not go through, as SMMUv3 names it. */
export const faults = { F_TRANSLATION: 0x10, F_ADDR_SIZE: 0x11, F_PERMISSION: 0x13 } as const;
/** A name in {@link faults}. */
export type FaultName = keyof typeof faults;

/** An {@link IommuDomain} as a table of ranges, with the rules of io-pgtable-arm.c and none of its memory. */
export class ExtentDomain implements IommuDomain {
  readonly iommu: Iommu;
  readonly pageSizes: bigint;
  readonly aperture: { readonly start: number; readonly end: number };
  readonly enforcesCoherency = false;
  readonly #geometry: Geometry;
  readonly #table = new IntervalMap<Target>((target, from) => ({
    ...target,
    physicalAddress: target.physicalAddress + from,
  }));

  constructor(iommu: Iommu, geometry: Geometry) {
    this.iommu = iommu;
    this.#geometry = geometry;
    this.pageSizes = geometry.pageSizes;
    this.aperture = { start: 0, end: 2 ** geometry.inputBits - 1 };
  }

  map(iova: number, physicalAddress: number, size: number, { read, write }: DmaProtection): void {
    // iommu_map: alignment first, then the page table's own ranges (arm_lpae_map_pages).
    const smallest = Number(this.pageSizes & -this.pageSizes);
    if (iova % smallest !== 0 || physicalAddress % smallest !== 0 || size % smallest !== 0) refuse("EINVAL");
    if (iova + size > 2 ** this.#geometry.inputBits) refuse("ERANGE");
    if (physicalAddress + size > 2 ** this.#geometry.outputBits) refuse("ERANGE");
    if (this.#table.first(iova, iova + size) !== undefined) refuse("EEXIST");
    this.#table.insert(iova, iova + size, { physicalAddress, read, write });
  }

  unmap(iova: number, size: number): number {
    const removed = this.#table.remove(iova, iova + size);
    return removed.reduce((bytes, { start, end }) => bytes + end - start, 0);
  }

  physicalAddressOf(iova: number): number | undefined {
    const found = this.#table.at(iova);
    return found === undefined ? undefined : found.value.physicalAddress + iova - found.start;
  }

  mappings(): readonly DomainMapping[] {
    return [...this.#table].map(({ start, end, value }) => ({ iova: start, size: end - start, ...value }));
  }

  free(): void {
    this.#table.remove(0, Number.POSITIVE_INFINITY);
  }

  /** @internal What the hardware does with an address. */
  walk(iova: number, write: boolean): Translation | FaultName {
    const found = this.#table.at(iova);
    if (found === undefined) return "F_TRANSLATION";
    if (write ? !found.value.write : !this.#readable(found.value)) return "F_PERMISSION";
    return { physicalAddress: found.value.physicalAddress + iova - found.start, length: found.end - iova };
  }

  /** A stage 1 page table entry has a read-only bit and none against reading (io-pgtable-arm.c, arm_lpae_prot_to_pte). */
  #readable({ read, write }: Target): boolean {
    return read || (write && this.#geometry.stage === 1);
  }
}

import { IntervalMap } from "../../interval-map.js";
import type { DmaProtection, IommuDomain } from "../iommu/iommu.js";
import type { GroupMember } from "../iommu/iommu-group.js";
import { refuse } from "../refusal.js";
import { type Area, enterArea, exactly, leaveArea, type MapPiece } from "./area.js";
import type { HwPageTable } from "./hw-page-table.js";
import { chooseIova } from "./iova-choice.js";
import { IovaRules, type IovaSpan, LAST_IOVA } from "./iova-rules.js";
import type { UserPages } from "./user-pages.js";

/** An I/O address space of an iommufd: one set of mappings for any number of domains (drivers/iommu/iommufd/io_pagetable.c). */
export class Ioas {
  readonly kind = "ioas";
  readonly id: number;
  readonly rules = new IovaRules();
  /** Its page tables, oldest first. */
  readonly hwpts: HwPageTable[] = [];
  readonly areas = new IntervalMap<Area>((area) => area);
  readonly #pageSize: number;
  /** Those with all mappings. */
  readonly #domains: IommuDomain[] = [];
  /** Bytes that every mapping is a multiple of. */
  #alignment = 1;
  #largePages = true;

  constructor(id: number, pageSize: number) {
    this.id = id;
    this.#pageSize = pageSize;
  }

  get isUsed(): boolean {
    return this.hwpts.length > 0;
  }

  get alignment(): number {
    return this.#alignment;
  }

  get domains(): readonly IommuDomain[] {
    return this.#domains;
  }

  /** IOMMU_OPTION_HUGE_PAGES. */
  get largePages(): boolean {
    return this.#largePages;
  }

  set largePages(on: boolean) {
    if (!on && this.#largePages) {
      if (this.#domains.length > 0 && this.areas.size > 0) refuse("EINVAL");
      this.#requireAlignment(this.#pageSize);
    }
    this.#largePages = on;
    this.#calculateAlignment();
  }

  /**
   * Maps pieces of memory one behind the other (iopt_map_pages), all or nothing.
   * @param wanted undefined: where the kernel likes
   * @returns where
   */
  map(pieces: readonly MapPiece[], wanted: bigint | undefined, protection: DmaProtection): bigint {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (length === 0 || length % this.#alignment !== 0) refuse("EINVAL");
    const iova = wanted ?? this.#choose(pieces, BigInt(length));
    if (wanted !== undefined) this.#checkFree(wanted, BigInt(length));
    const areas = this.#layOut(pieces, exactly(iova), protection);
    exactly(iova + BigInt(length));
    const filled: Area[] = [];
    try {
      for (const area of areas) {
        this.#fill(area);
        filled.push(area);
      }
    } catch (error) {
      for (const area of filled) this.#empty(area);
      throw error;
    }
    for (const area of areas) this.#insert(area);
    return iova;
  }

  /** The memory behind a range without gaps, for IOMMU_IOAS_COPY (iopt_get_pages). */
  pieces(iova: bigint, length: bigint): readonly MapPiece[] {
    if (length === 0n) refuse("EINVAL");
    if (iova + length - 1n > LAST_IOVA) refuse("EOVERFLOW");
    const [start, end] = [exactly(iova), exactly(iova + length)];
    if (this.areas.gaps(start, end).length > 0) refuse("ENOENT");
    return this.areas.overlapping(start, end).map(({ value: { pages, offset, iova: from, length: size } }) => {
      const first = Math.max(start, from);
      return { pages, offset: offset + first - from, length: Math.min(end, from + size) - first };
    });
  }

  /** What is mapped from an address on, up to the first hole: the parts of a range that mappings have (iopt_for_each_contig_area). */
  contiguousFrom(iova: bigint, length: bigint): readonly { readonly iova: number; readonly size: number }[] {
    const [start, end] = [exactly(iova), exactly(iova + length)];
    const [hole = end] = this.areas.gaps(start, end)[0] ?? [];
    return this.areas.overlapping(start, hole).map((area) => {
      const first = Math.max(start, area.start);
      return { iova: first, size: Math.min(hole, area.end) - first };
    });
  }

  /**
   * Unmaps the whole mappings in a range, lowest first. One that reaches out of it ends that with ENOENT, and those before it
   * are gone by then (iopt_unmap_iova_range).
   * @param done told of the bytes of each mapping that is gone
   */
  unmap({ start, last }: IovaSpan, done: (bytes: number) => void): void {
    const [from, to] = last === LAST_IOVA ? [exactly(start), 2 ** 64] : [exactly(start), exactly(last + 1n)];
    const found = this.areas.overlapping(from, to);
    if (found.length === 0) refuse("ENOENT");
    for (const { start: first, end, value } of found) {
      if (first < from || end > to) refuse("ENOENT");
      this.#empty(value);
      this.#remove(value);
      done(end - first);
    }
  }

  /** Makes two mappings of the one that has both sides of `at`, if one has (iopt_cut_iova). */
  cut(at: bigint): void {
    const found = this.areas.at(exactly(at));
    if (found === undefined || found.start === exactly(at)) return;
    const { value: area } = found;
    const before = exactly(at) - area.iova;
    if (before % this.#alignment !== 0) refuse("EINVAL");
    if (this.#domains.length > 0) area.pages.split(area.offset, area.offset + before, area.offset + area.length);
    const parts = [
      { ...area, length: before },
      { ...area, iova: area.iova + before, offset: area.offset + before, length: area.length - before },
    ];
    this.areas.remove(found.start, found.end);
    for (const part of parts) this.#insert(part);
    area.pages.unmapped();
  }

  /** Puts every mapping into a domain (iopt_table_add_domain). */
  addDomain(domain: IommuDomain): void {
    const smallest = Number(domain.pageSizes & -domain.pageSizes);
    const alignment = Math.max(smallest, this.#alignment);
    if (alignment > this.#pageSize) refuse("EINVAL");
    if (alignment !== this.#alignment) this.#requireAlignment(alignment);
    try {
      const { start, end } = domain.aperture;
      if (start > 0) this.#reserve({ start: 0n, last: BigInt(start) - 1n }, domain);
      if (end < 2 ** 64 - 1) this.#reserve({ start: BigInt(end) + 1n, last: LAST_IOVA }, domain);
      this.#fillDomain(domain);
    } catch (error) {
      this.rules.release(domain);
      throw error;
    }
    this.#alignment = alignment;
    this.#domains.push(domain);
  }

  /** Takes every mapping out of a domain; with the last domain the pins go. */
  removeDomain(domain: IommuDomain): void {
    this.#domains.splice(this.#domains.indexOf(domain), 1);
    for (const { value } of this.areas) this.#emptyDomain(domain, value);
    this.rules.release(domain);
    this.#calculateAlignment();
  }

  /** Keeps mappings out of where a device's must not be (iopt_table_enforce_dev_resv_regions). */
  reserveFor(member: GroupMember): void {
    try {
      for (const { start, end, type } of member.iommu.reservedRegions(member)) {
        if (type !== "direct-relaxable") this.#reserve({ start: BigInt(start), last: BigInt(end) }, member);
      }
    } catch (error) {
      this.rules.release(member);
      throw error;
    }
  }

  /** Everything goes; nothing uses it any more. */
  destroy(): void {
    for (const { value } of [...this.areas]) this.#remove(value);
  }

  #insert(area: Area): void {
    this.areas.insert(area.iova, area.iova + area.length, area);
    area.pages.mapped();
    area.pages.revocation?.watch(this, () => this.#takeBack(area.pages));
  }

  /** No domain translates them any more; the mappings stay (iopt_revoke_notify). */
  #takeBack(pages: UserPages): void {
    for (const { value: area } of this.areas) {
      if (area.pages === pages) for (const domain of this.#domains) leaveArea(domain, area);
    }
  }

  #remove({ iova, length, pages }: Area): void {
    this.areas.remove(iova, iova + length);
    pages.unmapped();
  }

  /** Bytes that are mapped in one go. */
  get #step(): number {
    return this.#largePages ? Number.POSITIVE_INFINITY : this.#pageSize;
  }

  #calculateAlignment(): void {
    const smallest = this.#domains.map(({ pageSizes }) => Number(pageSizes & -pageSizes));
    this.#alignment = Math.max(this.#largePages ? 1 : this.#pageSize, ...smallest);
  }

  #choose(pieces: readonly MapPiece[], length: bigint): bigint {
    const [first] = pieces;
    if (first === undefined) return refuse("EINVAL");
    const mapped = Array.from(this.areas, ({ start, end }) => ({ start: BigInt(start), last: BigInt(end) - 1n }));
    return chooseIova({
      address: BigInt(first.pages.start + first.offset),
      length,
      pageSize: this.#pageSize,
      alignment: this.#alignment,
      allowed: this.rules.allowed,
      used: [...this.rules.reserved, ...mapped],
    });
  }

  /** iopt_check_iova: unlike type1, it looks at reservations before it looks for an overlap. */
  #checkFree(iova: bigint, length: bigint): void {
    if (iova % BigInt(this.#alignment) !== 0n) refuse("EINVAL");
    const last = iova + length - 1n;
    if (last > LAST_IOVA) refuse("EOVERFLOW");
    if (this.rules.isReserved({ start: iova, last })) refuse("EINVAL");
    if (this.#isMapped({ start: iova, last })) refuse("EEXIST");
  }

  /** iopt_insert_area of each. */
  #layOut(pieces: readonly MapPiece[], iova: number, protection: DmaProtection): readonly Area[] {
    let at = iova;
    return pieces.map((piece) => {
      if (protection.write && !piece.pages.writable) refuse("EPERM");
      if ((piece.offset % this.#pageSize) % this.#alignment !== 0) refuse("EINVAL");
      const area = { ...piece, iova: at, protection };
      at += piece.length;
      return area;
    });
  }

  #isMapped({ start, last }: IovaSpan): boolean {
    // Beyond 2^53 this is inexact, but only multiples of pages are mapped there.
    return this.areas.first(Number(start), Number(last) + 1) !== undefined;
  }

  #reserve(span: IovaSpan, owner: object): void {
    if (this.#isMapped(span)) refuse("EADDRINUSE");
    this.rules.reserve(span, owner);
  }

  #requireAlignment(alignment: number): void {
    for (const { value } of this.areas) {
      const pageOffset = value.offset % this.#pageSize;
      if ([value.iova, value.length, pageOffset].some((each) => each % alignment !== 0)) refuse("EADDRINUSE");
    }
  }

  /** Into every domain, oldest first; pins where there is one. */
  #fill(area: Area): void {
    const { pages, offset, length } = area;
    if (this.#domains.length === 0) return;
    pages.hold(offset, offset + length);
    const done: IommuDomain[] = [];
    try {
      for (const domain of this.#domains) {
        enterArea(domain, area, this.#step);
        done.push(domain);
      }
    } catch (error) {
      for (const domain of done) leaveArea(domain, area);
      pages.release(offset, offset + length);
      throw error;
    }
  }

  #empty(area: Area): void {
    const { length, pages, offset } = area;
    for (const domain of this.#domains) leaveArea(domain, area);
    if (this.#domains.length > 0) pages.release(offset, offset + length);
  }

  #fillDomain(domain: IommuDomain): void {
    const isFirst = this.#domains.length === 0;
    const done: Area[] = [];
    try {
      for (const { value: area } of this.areas) {
        if (isFirst) area.pages.hold(area.offset, area.offset + area.length);
        try {
          enterArea(domain, area, this.#step);
        } catch (error) {
          if (isFirst) area.pages.release(area.offset, area.offset + area.length);
          throw error;
        }
        done.push(area);
      }
    } catch (error) {
      for (const area of done) this.#emptyDomain(domain, area);
      throw error;
    }
  }

  /** The domain is not, or no longer, among those that have all mappings. */
  #emptyDomain(domain: IommuDomain, area: Area): void {
    const { length, pages, offset } = area;
    leaveArea(domain, area);
    if (this.#domains.length === 0) pages.release(offset, offset + length);
  }
}

import { errno } from "../abi/errno.js";
import type { Ioctl } from "../abi/ioctl.js";
import {
  IOMMU_IOAS_ALLOC,
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_MAP_FILE,
  IOMMU_IOAS_UNMAP,
  ioasAlloc,
  ioasCopy,
  ioasMap,
  ioasMapFile,
  ioasUnmap,
} from "../abi/iommufd-ioas.js";
import { destroy, IOMMU_DESTROY, IOMMU_OPTION_ID } from "../abi/iommufd-object.js";
import { type Iova, type IovaRange, iova as toIova } from "../iova.js";
import { type Fd, SyscallError } from "../syscalls/syscalls.js";
import type { ContainerInfo, DmaMapping } from "../vfio/container.js";
import type { DeviceIdentity } from "../vfio/device.js";
import { failuresOf } from "../vfio/failures.js";
import { type About, malformed, unexplained } from "../vfio/refusal.js";
import { type DmaBufAnswer, takesDmaBuf } from "./dma-buf-question.js";
import { ANYWHERE, type CopiedMapping, FIXED, type FileMapping, type UnplacedMapping } from "./io-mapping.js";
import { IoasQuestions } from "./ioas-questions.js";
import {
  type Circumstances,
  copyRefused,
  destroyRefused,
  foreignIommufd,
  hugePagesRefused,
  ioasMapRefused,
  ioasRefused,
  ioasUnmapRefused,
  mapAnywhereRefused,
  mapFileRefused,
} from "./ioas-refusals.js";
import type { Explain, Iommufd } from "./iommufd.js";
import { IommufdOption } from "./iommufd-option.js";
import { IovaRangesCall, type IovaRules } from "./iova-ranges-call.js";
import { askPageSizes } from "./page-sizes-call.js";
import { WholeRanges } from "./whole-ranges.js";

/** A call that maps. */
interface MapCall {
  readonly call: Ioctl;
  readonly bytes: Uint8Array;
  readonly explain: Explain;
}

/**
 * An I/O address space, IOAS: one set of mappings, which the kernel enters in every page table that is made for it
 * (drivers/iommu/iommufd/io_pagetable.c). Memory is pinned once, however many there are, and while there is none not at all.
 */
export class Ioas {
  /** The kernel's number for it. */
  readonly id: number;
  readonly #iommufd: Iommufd;
  readonly #attached = new Set<DeviceIdentity>();
  readonly #rangesCall: IovaRangesCall;
  readonly #questions: IoasQuestions;
  readonly #whole = new WholeRanges();
  readonly #hugePages: IommufdOption;

  private constructor(iommufd: Iommufd, id: number) {
    this.#iommufd = iommufd;
    this.id = id;
    this.#rangesCall = new IovaRangesCall(iommufd, id);
    this.#questions = new IoasQuestions(iommufd, id);
    this.#hugePages = new IommufdOption(iommufd, IOMMU_OPTION_ID.HUGE_PAGES, id);
  }

  /** An empty one, without devices. @param about the device it is made for, for errors. */
  static allocate(iommufd: Iommufd, about: About = {}): Ioas {
    const bytes = ioasAlloc.encode();
    iommufd.ioctl(IOMMU_IOAS_ALLOC, bytes, (error) => ioasRefused(error, about));
    return new Ioas(iommufd, ioasAlloc.decode(bytes).out_ioas_id);
  }

  /** IOMMUs of the attached devices, joined for messages. */
  get iommus(): string {
    return [...new Set(Array.from(this.#attached, ({ iommu }) => iommu))].join(", ");
  }

  /** The attached devices, joined for messages. */
  get devices(): string {
    return Array.from(this.#attached, ({ name }) => name).join(", ");
  }

  /** @internal */
  noteAttached(device: DeviceIdentity): void {
    this.#attached.add(device);
  }

  /** @internal */
  noteDetached(device: DeviceIdentity): void {
    this.#attached.delete(device);
  }

  /** Which addresses can be mapped: those that no attached device and no page table rules out. */
  rules(): IovaRules {
    return this.#rangesCall.ask(this.#about);
  }

  /**
   * Promises that nobody will rule out these ranges: a device that would is not attached any more (EADDRINUSE). Addresses
   * that the kernel chooses lie in them. Replaces the ranges there were; with none, everything may be chosen again.
   * Mappings at IOVAs of the caller's may lie elsewhere.
   * @param ranges apart from each other, of two bytes or more
   * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT`; `ERR_IOSPAN_MAP_RANGE` where something in them is ruled out already.
   * Those that there were still hold then (drivers/iommu/iommufd/ioas.c, iommufd_ioas_allow_iovas).
   */
  allow(ranges: readonly IovaRange[]): void {
    this.#rangesCall.allow(ranges, this.#about);
  }

  /** The same as of a VFIO container. How many mappings there may be is not limited. */
  info(): ContainerInfo {
    const { ranges, alignment } = this.rules();
    return {
      ranges,
      pageSizes: askPageSizes(this.#iommufd, this.id, this.#about) ?? BigInt(alignment),
      available: undefined,
    };
  }

  /**
   * Whether IOMMUs may use pages and blocks larger than the smallest, which they do unless told otherwise.
   * @throws IospanError when the kernel does not answer.
   */
  hugePages(): boolean {
    return this.#hugePages.get(this.#about) !== 0n;
  }

  /**
   * Lets IOMMUs use large pages, or maps everything in their smallest ones from now on.
   * @throws IospanError `ERR_IOSPAN_BUSY` where there are page tables with mappings (io_pagetable.c, iopt_disable_large_pages).
   */
  setHugePages(on: boolean): void {
    this.#hugePages.set(on ? 1n : 0n, (error) => hugePagesRefused(error, this.#about));
  }

  /** @throws IospanError saying why the kernel refused; nothing is mapped then. */
  map(mapping: DmaMapping): void {
    this.#map(this.#mapCall(mapping));
    this.#whole.add(mapping.iova, mapping.size);
  }

  /** {@link map} off the event loop: pinning takes a while for large mappings. */
  async mapAsync(mapping: DmaMapping): Promise<void> {
    await this.#mapAsync(this.#mapCall(mapping));
    this.#whole.add(mapping.iova, mapping.size);
  }

  /**
   * Maps memory where the kernel likes: the lowest free place, never 0, as aligned as the memory is and its size can use
   * (io_pagetable.c, iopt_alloc_iova).
   * @returns where
   * @throws IospanError `ERR_IOSPAN_NO_IOVA` where there is no place, or as {@link map} does.
   */
  mapAnywhere(memory: UnplacedMapping): Iova {
    const { address: user_va, size, access } = memory;
    const bytes = ioasMap.encode({ ioas_id: this.id, flags: ANYWHERE[access], user_va, length: size });
    const explain: Explain = (error) => mapAnywhereRefused(error, memory, this.#circumstances);
    this.#map({ call: IOMMU_IOAS_MAP, bytes, explain });
    const at = toIova(ioasMap.decode(bytes).iova);
    this.#whole.add(at, size);
    return at;
  }

  /**
   * Maps a part of a file: of a memfd, with huge pages or without, or of a dma-buf of a VFIO device's registers, which other
   * devices then reach (peer to peer). Memory need not be mapped in the process. With Linux 6.13 or newer (pages.c).
   * @throws IospanError `ERR_IOSPAN_MAP_MEMORY` where the file has not got that, `ERR_IOSPAN_NOT_SUPPORTED` on older kernels, or
   * as {@link map} does; nothing is mapped then.
   */
  mapFile(mapping: FileMapping): void {
    this.#map(this.#mapFileCall(mapping));
    this.#whole.add(mapping.iova, mapping.size);
  }

  /** {@link mapFile} off the event loop. */
  async mapFileAsync(mapping: FileMapping): Promise<void> {
    await this.#mapAsync(this.#mapFileCall(mapping));
    this.#whole.add(mapping.iova, mapping.size);
  }

  /**
   * Whether {@link mapFile} takes a dma-buf, found out without mapping it for any device.
   * @param size bytes that it has. @throws IospanError where the kernel does not answer.
   */
  takesDmaBuf(fd: Fd, size: number): DmaBufAnswer {
    return takesDmaBuf(this.#iommufd, fd, size, this.#about);
  }

  /**
   * Maps here what another address space of the same iommufd has mapped, or this one elsewhere. It is neither pinned nor charged
   * a second time, and stays when it is unmapped there (io_pagetable.c, iopt_get_pages).
   * @throws IospanError `ERR_IOSPAN_MAP_MEMORY` where the source has holes, or is read-only and `access` is not; or as
   * {@link map} does. Nothing is mapped then.
   */
  copyFrom(source: Ioas, mapping: CopiedMapping): void {
    this.#map(this.#copyCall(source, mapping));
    this.#whole.add(mapping.iova, mapping.size);
  }

  /** {@link copyFrom} off the event loop. */
  async copyFromAsync(source: Ioas, mapping: CopiedMapping): Promise<void> {
    await this.#mapAsync(this.#copyCall(source, mapping));
    this.#whole.add(mapping.iova, mapping.size);
  }

  /**
   * Removes what is mapped in a range of IOVAs that covers whole mappings, all or nothing. When it returns, no IOMMU translates
   * them any more. The kernel goes mapping by mapping and stops at one that the range cuts (io_pagetable.c,
   * iopt_unmap_iova_range), so that is looked for beforehand: not at all for a range that this object has mapped as one, else
   * by asking the kernel, which knows every mapping. It holds as long as nobody else maps and unmaps there at the same time.
   * @returns bytes that were mapped and are no more; fewer than `size` where the range had holes.
   * @throws IospanError `ERR_IOSPAN_UNMAP_REFUSED` where the range cuts a mapping; everything is still mapped then.
   */
  unmap(iova: Iova, size: number): number {
    const bytes = this.#unmapCall(iova, size);
    try {
      this.#iommufd.ioctl(IOMMU_IOAS_UNMAP, bytes, (error) => error);
    } catch (error) {
      return this.#nothingUnmapped(error, iova, size);
    }
    return this.#unmapped(bytes, iova, size);
  }

  /** {@link unmap} off the event loop. */
  async unmapAsync(iova: Iova, size: number): Promise<number> {
    const bytes = this.#unmapCall(iova, size);
    try {
      await this.#iommufd.ioctlAsync(IOMMU_IOAS_UNMAP, bytes, (error) => error);
    } catch (error) {
      return this.#nothingUnmapped(error, iova, size);
    }
    return this.#unmapped(bytes, iova, size);
  }

  /** Whether any byte of a range is mapped, asked of the kernel without changing anything. */
  isMapped(iova: Iova, size: bigint): boolean {
    const answer = this.#questions.anyMapped(iova, size, this.#about);
    if (answer !== "ruled out") return answer === "mapped";
    // The rest is asked about alone.
    const end = iova + size - 1n;
    return this.rules().ranges.some((range) => {
      const first = range.start > iova ? range.start : iova;
      const last = range.end < end ? range.end : end;
      if (first > last) return false;
      return this.#questions.anyMapped(toIova(first), last - first + 1n, this.#about) === "mapped";
    });
  }

  /** Whether every byte of a range is mapped, in however many mappings, asked of the kernel without changing anything. */
  isWhole(iova: Iova, size: bigint): boolean {
    return this.#questions.allMapped(iova, size, this.#about);
  }

  /**
   * Ends it, with all mappings. It also goes with the iommufd.
   * @throws IospanError `ERR_IOSPAN_BUSY` while a device is attached or a page table is made for it; nothing has changed then.
   */
  destroy(): void {
    const bytes = destroy.encode({ id: this.id });
    this.#iommufd.ioctl(IOMMU_DESTROY, bytes, (error) => destroyRefused(error, this.#about));
    this.close();
  }

  /** Gives back what it needed to ask; the address space itself goes with the iommufd, or with {@link destroy}. */
  close(): void {
    const failures = failuresOf(
      () => this.#questions.release(),
      () => this.#rangesCall.release(),
    ).map((error) => unexplained(error, "giving back memory that the kernel was asked with", this.#about));
    if (failures.length > 0) throw failures[0];
  }

  /** Whom an error is about. */
  get #about(): About {
    return { device: this.devices, iommu: this.iommus };
  }

  get #circumstances(): Circumstances {
    return { about: this.#about, syscalls: this.#iommufd.syscalls };
  }

  #map({ call, bytes, explain }: MapCall): void {
    this.#iommufd.ioctl(call, bytes, explain);
  }

  #mapAsync({ call, bytes, explain }: MapCall): Promise<void> {
    return this.#iommufd.ioctlAsync(call, bytes, explain);
  }

  #mapCall(mapping: DmaMapping): MapCall {
    const { iova, address: user_va, size: length, access } = mapping;
    const bytes = ioasMap.encode({ ioas_id: this.id, flags: FIXED[access], user_va, iova, length });
    return { call: IOMMU_IOAS_MAP, bytes, explain: (error) => ioasMapRefused(error, mapping, this.#circumstances) };
  }

  #mapFileCall(mapping: FileMapping): MapCall {
    const { fd, offset: start, iova, size: length, access } = mapping;
    const bytes = ioasMapFile.encode({ ioas_id: this.id, flags: FIXED[access], fd, start, iova, length });
    return {
      call: IOMMU_IOAS_MAP_FILE,
      bytes,
      explain: (error) => mapFileRefused(error, mapping, this.#circumstances),
    };
  }

  #copyCall(source: Ioas, mapping: CopiedMapping): MapCall {
    if (source.#iommufd !== this.#iommufd) throw foreignIommufd(this.#about);
    const { from: src_iova, iova: dst_iova, size: length, access } = mapping;
    const ids = { src_ioas_id: source.id, dst_ioas_id: this.id };
    const bytes = ioasCopy.encode({ ...ids, flags: FIXED[access], src_iova, dst_iova, length });
    return { call: IOMMU_IOAS_COPY, bytes, explain: (error) => copyRefused(error, mapping, this.#circumstances) };
  }

  /** @throws IospanError where it would cut a mapping. */
  #unmapCall(iova: Iova, size: number): Uint8Array {
    const bytes = ioasUnmap.encode({ ioas_id: this.id, iova, length: size });
    if (this.#whole.has(iova, size)) return bytes;
    const cut = this.#questions.cut(iova, BigInt(size), this.#about);
    if (cut !== undefined) throw ioasUnmapRefused(cut, iova, size, this.#about);
    return bytes;
  }

  /** ENOENT says that the range is empty, or that it cuts a mapping: of somebody who has mapped there meanwhile. */
  #nothingUnmapped(error: unknown, iova: Iova, size: number): number {
    const unknown = error instanceof SyscallError && error.errno === errno.ENOENT;
    if (!unknown || this.isMapped(iova, BigInt(size))) throw ioasUnmapRefused(error, iova, size, this.#about);
    this.#whole.forget(iova, size);
    return 0;
  }

  #unmapped(bytes: Uint8Array, iova: Iova, asked: number): number {
    const { length } = ioasUnmap.decode(bytes);
    if (length > BigInt(asked)) throw malformed(`the kernel says it unmapped ${length} of ${asked} bytes`, this.#about);
    this.#whole.forget(iova, asked);
    return Number(length);
  }
}

import { IOMMU_IOAS_ALLOC, ioasAlloc, ioasMap } from "../abi/iommufd-ioas.js";
import { destroy, IOMMU_DESTROY, IOMMU_OPTION_ID } from "../abi/iommufd-object.js";
import { type Iova, type IovaRange, iova as toIova } from "../iova.js";
import type { Fd } from "../syscalls/syscalls.js";
import type { ContainerInfo, DmaMapping } from "../vfio/container.js";
import { allMapped } from "../vfio/copy-question.js";
import type { DeviceIdentity } from "../vfio/device.js";
import { answered, answeredAsync, type KernelQuestion } from "../vfio/kernel-question.js";
import { MappedRanges } from "../vfio/mapped-ranges.js";
import { type IovaSize, MappingProbe } from "../vfio/mapping-probe.js";
import { type About, unexplained } from "../vfio/refusal.js";
import { type DmaBufAnswer, takesDmaBuf } from "./dma-buf-question.js";
import type { CopiedMapping, FileMapping, UnplacedMapping } from "./io-mapping.js";
import { copyCall, type MapCall, mapAnywhereCall, mapCall, mapFileCall } from "./ioas-map-calls.js";
import { probedIoas } from "./ioas-questions.js";
import { type Circumstances, destroyRefused, foreignIommufd, hugePagesRefused, ioasRefused } from "./ioas-refusals.js";
import { unmapping } from "./ioas-unmap.js";
import { type Iommufd, unlessBusy } from "./iommufd.js";
import { IommufdOption } from "./iommufd-option.js";
import { allowIovas, askIovaRules, type IovaRules } from "./iova-ranges-call.js";
import { askPageSizes } from "./page-sizes-call.js";

/**
 * An I/O address space, IOAS: one set of mappings, which the kernel enters in every page table that is made for it
 * (drivers/iommu/iommufd/io_pagetable.c). Memory is pinned once, however many there are, and while there is none not at all.
 */
export class Ioas implements Disposable {
  /** The kernel's number for it. */
  readonly id: number;
  readonly #iommufd: Iommufd;
  readonly #attached = new Set<DeviceIdentity>();
  readonly #probe: MappingProbe;
  readonly #mapped = new MappedRanges();
  readonly #hugePages: IommufdOption;
  #ended = false;

  private constructor(iommufd: Iommufd, id: number) {
    this.#iommufd = iommufd;
    this.id = id;
    this.#probe = new MappingProbe(iommufd.syscalls);
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

  /**
   * Which addresses can be mapped: those that no attached device and no page table rules out.
   * @throws IospanError `ERR_IOSPAN_CLOSED` after the iommufd, `ERR_IOSPAN_MALFORMED_ANSWER` when the kernel's answer makes no
   * sense, `ERR_IOSPAN_SYSCALL` where there is none, as after {@link destroy}.
   */
  rules(): IovaRules {
    return askIovaRules(this.#iommufd, this.id, this.#about);
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
    allowIovas(this.#iommufd, this.id, ranges, this.#about);
  }

  /**
   * The same as of a VFIO container. How many mappings there may be is not limited.
   * @throws IospanError as {@link rules} does.
   */
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
    this.#map(mapCall(this.id, mapping));
    this.#noteMapped(mapping.iova, mapping.size);
  }

  /** {@link map} off the event loop: pinning takes a while for large mappings. */
  async mapAsync(mapping: DmaMapping): Promise<void> {
    await this.#mapAsync(mapCall(this.id, mapping));
    this.#noteMapped(mapping.iova, mapping.size);
  }

  /**
   * Maps memory where the kernel likes: the lowest free place, never 0, as aligned as the memory is and its size can use
   * (io_pagetable.c, iopt_alloc_iova).
   * @returns where
   * @throws IospanError `ERR_IOSPAN_NO_IOVA` where there is no place, or as {@link map} does.
   */
  mapAnywhere(memory: UnplacedMapping): Iova {
    const call = mapAnywhereCall(this.id, memory);
    this.#map(call);
    const at = toIova(ioasMap.decode(call.bytes).iova);
    this.#noteMapped(at, memory.size);
    return at;
  }

  /**
   * Maps a part of a file: of a memfd, with huge pages or without, or of a dma-buf of a VFIO device's registers, which other
   * devices then reach (peer to peer). Memory need not be mapped in the process. Memfds with Linux 6.13 or newer, dma-bufs with
   * 6.19 or newer (io_pagetable.c, iopt_map_file_pages). In between any file is taken, a dma-buf, too, while no device is
   * attached; attaching the next one fails then, since the file has no pages to pin (pages.c). A space's `peerToPeer()` tells
   * beforehand.
   * @throws IospanError `ERR_IOSPAN_MAP_MEMORY` where the file has not got that, `ERR_IOSPAN_NOT_SUPPORTED` on older kernels, or
   * as {@link map} does; nothing is mapped then.
   */
  mapFile(mapping: FileMapping): void {
    this.#map(mapFileCall(this.id, mapping));
    this.#noteMapped(mapping.iova, mapping.size);
  }

  /** {@link mapFile} off the event loop. */
  async mapFileAsync(mapping: FileMapping): Promise<void> {
    await this.#mapAsync(mapFileCall(this.id, mapping));
    this.#noteMapped(mapping.iova, mapping.size);
  }

  /**
   * @internal Whether {@link mapFile} takes a dma-buf, found out without mapping it for any device.
   * @param size bytes that it has. @throws IospanError where the kernel does not answer.
   */
  takesDmaBuf(fd: Fd, size: number): DmaBufAnswer {
    return takesDmaBuf(this.#iommufd, fd, size, this.#about);
  }

  /**
   * Maps here what another address space of the same iommufd has mapped, or this one elsewhere. It is neither pinned nor charged
   * a second time, and stays when it is unmapped there (io_pagetable.c, iopt_get_pages).
   * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` where the source belongs to another iommufd, `ERR_IOSPAN_MAP_MEMORY` where
   * it has holes, or is read-only and `access` is not; or as {@link map} does. Nothing is mapped then.
   */
  copyFrom(source: Ioas, mapping: CopiedMapping): void {
    this.#map(this.#copyCall(source, mapping));
    this.#noteMapped(mapping.iova, mapping.size);
  }

  /** {@link copyFrom} off the event loop. */
  async copyFromAsync(source: Ioas, mapping: CopiedMapping): Promise<void> {
    await this.#mapAsync(this.#copyCall(source, mapping));
    this.#noteMapped(mapping.iova, mapping.size);
  }

  /**
   * Removes what is mapped in a range of IOVAs that covers whole mappings. When it returns, no IOMMU translates them any more.
   * The kernel goes mapping by mapping and stops at one that the range cuts (io_pagetable.c, iopt_unmap_iova_range), so that is
   * looked for beforehand, and everything is still mapped where one is found: not at all for a range that this object has
   * mapped as one, else by asking the kernel, which knows every mapping. It holds as long as nobody else maps and unmaps there
   * at the same time.
   * @returns bytes that were mapped and are no more; fewer than `size` where the range had holes.
   * @throws IospanError `ERR_IOSPAN_UNMAP_REFUSED` where the range cuts a mapping, or the kernel stopped at one that is held or
   * being unmapped (EBUSY, EDEADLK). It does not say how many it had unmapped by then; where not all are mapped any more the
   * error says so. A single mapping is unmapped or not.
   */
  unmap(iova: Iova, size: number): number {
    return answered(this.#iommufd, this.#unmapping(iova, size));
  }

  /** {@link unmap} off the event loop. */
  async unmapAsync(iova: Iova, size: number): Promise<number> {
    return answeredAsync(this.#iommufd, this.#unmapping(iova, size));
  }

  /**
   * Whether any byte of a range is mapped, asked of the kernel without changing anything.
   * @throws IospanError `ERR_IOSPAN_CLOSED` after the iommufd, `ERR_IOSPAN_SYSCALL` where the kernel does not answer, as after
   * {@link destroy}.
   */
  isMapped(iova: Iova, size: bigint): boolean {
    return this.#isMapped({ iova, size });
  }

  /**
   * Whether every byte of a range is mapped, in however many mappings, asked of the kernel without changing anything.
   * @throws IospanError `ERR_IOSPAN_CLOSED` after the iommufd, `ERR_IOSPAN_SYSCALL` where the kernel does not answer, as for an
   * empty range.
   */
  isWhole(iova: Iova, size: bigint): boolean {
    return answered(this.#iommufd, allMapped(this.id, { iova, size }, this.#about));
  }

  /**
   * Ends it, with all mappings. It also goes with the iommufd.
   * @throws IospanError `ERR_IOSPAN_BUSY` while a device is attached or a page table is made for it; nothing has changed then.
   */
  destroy(): void {
    const bytes = destroy.encode({ id: this.id });
    this.#iommufd.ioctl(IOMMU_DESTROY, bytes, (error) => destroyRefused(error, this.#about));
    this.#ended = true;
    this.close();
  }

  /** Gives back what it needed to ask; the address space itself goes with the iommufd, or with {@link destroy}. */
  close(): void {
    try {
      this.#probe.release();
    } catch (error) {
      throw unexplained(error, "giving back memory that the kernel was asked with", this.#about);
    }
  }

  /** Ends it. Where a device or a page table still uses it, that is left to the end of the iommufd. */
  [Symbol.dispose](): void {
    if (!this.#ended && !this.#iommufd.closed) unlessBusy(() => this.destroy());
    this.close();
  }

  /** Whom an error is about. */
  get #about(): About {
    return { device: this.devices, iommu: this.iommus };
  }

  #map({ call, bytes, explain }: MapCall): void {
    this.#iommufd.ioctl(call, bytes, (error) => explain(error, this.#circumstances));
  }

  #mapAsync({ call, bytes, explain }: MapCall): Promise<void> {
    return this.#iommufd.ioctlAsync(call, bytes, (error) => explain(error, this.#circumstances));
  }

  get #circumstances(): Circumstances {
    return { about: this.#about, syscalls: this.#iommufd.syscalls };
  }

  #copyCall(source: Ioas, mapping: CopiedMapping): MapCall {
    if (source.#iommufd !== this.#iommufd) throw foreignIommufd(this.#about);
    return copyCall(source.id, this.id, mapping);
  }

  #noteMapped(iova: Iova, size: number): void {
    this.#mapped.add({ iova, size: BigInt(size) });
  }

  #unmapping(iova: Iova, size: number): KernelQuestion<number> {
    const questions = { about: () => this.#about, isMapped: (range: IovaSize) => this.#isMapped(range) };
    return unmapping({ id: this.id, mapped: this.#mapped, ...questions }, iova, size);
  }

  #isMapped(range: IovaSize): boolean {
    const ioas = probedIoas(this.#iommufd, this.id, () => this.rules().ranges, this.#about);
    return this.#probe.isMapped(ioas, range);
  }
}

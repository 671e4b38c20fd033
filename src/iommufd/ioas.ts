import { errno } from "../abi/errno.js";
import {
  IOMMU_IOAS_ALLOC,
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_MAP_FLAG,
  IOMMU_IOAS_UNMAP,
  IOMMU_VFIO_IOAS,
  IOMMU_VFIO_IOAS_OP,
  ioasAlloc,
  ioasCopy,
  ioasMap,
  ioasUnmap,
  vfioIoas,
} from "../abi/iommufd-ioas.js";
import { destroy, IOMMU_DESTROY } from "../abi/iommufd-object.js";
import { type1Info, VFIO_IOMMU_GET_INFO } from "../abi/vfio-container-info.js";
import { type Iova, iova as toIova } from "../iova.js";
import type { MappedMemory } from "../syscalls/mapped-memory.js";
import { SyscallError } from "../syscalls/syscalls.js";
import type { Access, ContainerInfo, DmaMapping } from "../vfio/container.js";
import { probeRefused } from "../vfio/container-refusals.js";
import type { DeviceIdentity } from "../vfio/device.js";
import { failuresOf, withFailures } from "../vfio/failures.js";
import { inaccessiblePage } from "../vfio/inaccessible-page.js";
import { type About, malformed, unexplained } from "../vfio/refusal.js";
import type { Iommufd } from "./iommufd.js";
import { ioasMapRefused, ioasRefused, ioasUnmapRefused } from "./iommufd-refusals.js";
import { IovaRangesCall, type IovaRules } from "./iova-ranges-call.js";

const { FIXED_IOVA, READABLE, WRITEABLE } = IOMMU_IOAS_MAP_FLAG;

const ACCESS_FLAGS: Readonly<Record<Access, number>> = {
  read: FIXED_IOVA | READABLE,
  write: FIXED_IOVA | WRITEABLE,
  "read-write": FIXED_IOVA | READABLE | WRITEABLE,
};

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
  #probePage: MappedMemory | undefined;

  private constructor(iommufd: Iommufd, id: number) {
    this.#iommufd = iommufd;
    this.id = id;
    this.#rangesCall = new IovaRangesCall(iommufd, id);
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

  /** The same as of a VFIO container. How many mappings there may be is not limited. */
  info(): ContainerInfo {
    const { ranges, alignment } = this.rules();
    return { ranges, pageSizes: this.#pageSizes() ?? BigInt(alignment), available: undefined };
  }

  /** @throws IospanError saying why the kernel refused; nothing is mapped then. */
  map(mapping: DmaMapping): void {
    this.#iommufd.ioctl(IOMMU_IOAS_MAP, this.#encodeMap(mapping), (error) => this.#mapRefused(error, mapping));
  }

  /** {@link map} off the event loop: pinning takes a while for large mappings. */
  async mapAsync(mapping: DmaMapping): Promise<void> {
    await this.#iommufd.ioctlAsync(IOMMU_IOAS_MAP, this.#encodeMap(mapping), (error) =>
      this.#mapRefused(error, mapping),
    );
  }

  /**
   * Removes what is mapped in a range of IOVAs that covers whole mappings. When it returns, no IOMMU translates them any more.
   * Where the range cuts a mapping, those before that one may be gone although the call throws: the kernel does it mapping by
   * mapping.
   * @returns bytes that were mapped and are no more; fewer than `size` where the range had holes.
   */
  unmap(iova: Iova, size: number): number {
    const bytes = this.#encodeUnmap(iova, size);
    try {
      this.#iommufd.ioctl(IOMMU_IOAS_UNMAP, bytes, (error) => error);
    } catch (error) {
      return this.#nothingUnmapped(error, iova, size);
    }
    return this.#unmappedSize(bytes, size);
  }

  /** {@link unmap} off the event loop. */
  async unmapAsync(iova: Iova, size: number): Promise<number> {
    const bytes = this.#encodeUnmap(iova, size);
    try {
      await this.#iommufd.ioctlAsync(IOMMU_IOAS_UNMAP, bytes, (error) => error);
    } catch (error) {
      return this.#nothingUnmapped(error, iova, size);
    }
    return this.#unmappedSize(bytes, size);
  }

  /**
   * Whether any byte of a range is mapped, asked of the kernel without changing anything: a map that cannot succeed, because
   * the memory it names cannot be pinned. The kernel looks for an overlap (EEXIST) before it looks at the memory, but at what
   * is ruled out (EINVAL) before both; so what is not is asked about alone (io_pagetable.c, iopt_check_iova).
   */
  isMapped(iova: Iova, size: bigint): boolean {
    const answer = this.#probe(iova, size);
    if (answer !== "ruled out") return answer === "mapped";
    const end = iova + size - 1n;
    return this.rules().ranges.some((range) => {
      const first = range.start > iova ? range.start : iova;
      const last = range.end < end ? range.end : end;
      return first <= last && this.#probe(toIova(first), last - first + 1n) === "mapped";
    });
  }

  /**
   * Whether every byte of a range is mapped, in however many mappings: asked with a copy of the range into an address space
   * that nobody is attached to. The kernel refuses one that has holes (ENOENT, io_pagetable.c, iopt_get_pages), and without a
   * page table a copy pins nothing.
   */
  isWhole(iova: Iova, size: bigint): boolean {
    const scratch = Ioas.allocate(this.#iommufd, this.#about);
    let isWhole: boolean;
    try {
      isWhole = this.#canShareWith(scratch, iova, size);
    } catch (error) {
      throw withFailures(
        error,
        failuresOf(() => scratch.#destroy(this.#about)),
      );
    }
    scratch.#destroy(this.#about);
    return isWhole;
  }

  #canShareWith(scratch: Ioas, iova: Iova, size: bigint): boolean {
    const bytes = ioasCopy.encode({
      flags: ACCESS_FLAGS.read,
      src_ioas_id: this.id,
      dst_ioas_id: scratch.id,
      src_iova: iova,
      dst_iova: iova,
      length: size,
    });
    try {
      this.#iommufd.syscalls.ioctl(this.#iommufd.fd, IOMMU_IOAS_COPY, bytes);
      return true;
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      if (error.errno === errno.ENOENT) return false;
      throw probeRefused(error, iova, size, this.#about);
    }
  }

  /** Gives back what it needed to ask; the address space itself goes with the iommufd. */
  close(): void {
    const page = this.#probePage;
    this.#probePage = undefined;
    const failures = failuresOf(
      () => page?.release(),
      () => this.#rangesCall.release(),
    ).map((error) => unexplained(error, "giving back memory that the kernel was asked with", this.#about));
    if (failures.length > 0) throw failures[0];
  }

  /** Ends it, with all mappings; no device may be attached. */
  #destroy(about: About): void {
    this.#iommufd.ioctl(IOMMU_DESTROY, destroy.encode({ id: this.id }), (error) =>
      unexplained(error, "ending the address space that the kernel was asked with", about),
    );
  }

  /** Whom an error is about. */
  get #about(): About {
    return { device: this.devices, iommu: this.iommus };
  }

  #encodeMap({ iova, address, size, access }: DmaMapping): Uint8Array {
    return ioasMap.encode({ ioas_id: this.id, flags: ACCESS_FLAGS[access], user_va: address, iova, length: size });
  }

  #mapRefused(error: unknown, mapping: DmaMapping): unknown {
    return ioasMapRefused(error, mapping, this.#about, this.#iommufd.syscalls);
  }

  #encodeUnmap(iova: Iova, size: number | bigint): Uint8Array {
    return ioasUnmap.encode({ ioas_id: this.id, iova, length: size });
  }

  /** ENOENT says that the range is empty, or that it cuts a mapping. */
  #nothingUnmapped(error: unknown, iova: Iova, size: number): number {
    const unknown = error instanceof SyscallError && error.errno === errno.ENOENT;
    if (unknown && !this.isMapped(iova, BigInt(size))) return 0;
    throw ioasUnmapRefused(error, iova, size, this.#about);
  }

  #unmappedSize(bytes: Uint8Array, asked: number): number {
    const { length } = ioasUnmap.decode(bytes);
    if (length > BigInt(asked)) throw malformed(`the kernel says it unmapped ${length} of ${asked} bytes`, this.#about);
    return Number(length);
  }

  #probe(iova: Iova, size: bigint): "mapped" | "free" | "ruled out" {
    const bytes = ioasMap.encode({
      ioas_id: this.id,
      flags: ACCESS_FLAGS.read,
      user_va: this.#inaccessible(),
      iova,
      length: size,
    });
    const { syscalls, fd } = this.#iommufd;
    try {
      syscalls.ioctl(fd, IOMMU_IOAS_MAP, bytes);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      if (error.errno === errno.EEXIST) return "mapped";
      if (error.errno === errno.EFAULT) return "free";
      if (error.errno === errno.EINVAL) return "ruled out";
      throw probeRefused(error, iova, size, this.#about);
    }
    // While there is no page table nobody looks at the memory.
    this.#iommufd.ioctl(IOMMU_IOAS_UNMAP, this.#encodeUnmap(iova, size), (error) =>
      unexplained(error, "undoing what the kernel was asked with", this.#about),
    );
    return "free";
  }

  #inaccessible(): bigint {
    try {
      this.#probePage ??= inaccessiblePage(this.#iommufd.syscalls);
      return this.#probePage.address;
    } catch (error) {
      throw unexplained(error, "taking a page of address space to ask the kernel with", this.#about);
    }
  }

  /**
   * The sizes of pages and blocks that all page tables have, which only VFIO's container calls tell, of the address space they
   * are pointed to (drivers/iommu/iommufd/vfio_compat.c). Undefined where the kernel has not got them.
   */
  #pageSizes(): bigint | undefined {
    const { syscalls, fd } = this.#iommufd;
    const bytes = type1Info.encode();
    try {
      syscalls.ioctl(fd, IOMMU_VFIO_IOAS, vfioIoas.encode({ ioas_id: this.id, op: IOMMU_VFIO_IOAS_OP.SET }));
      syscalls.ioctl(fd, VFIO_IOMMU_GET_INFO, bytes);
    } catch (error) {
      if (error instanceof SyscallError && NOT_THERE.includes(error.errno)) return undefined;
      throw unexplained(error, "asking which pages can be mapped", this.#about);
    }
    return type1Info.decode(bytes).iova_pgsizes;
  }
}

const NOT_THERE: readonly number[] = [errno.ENOTTY, errno.EOPNOTSUPP];

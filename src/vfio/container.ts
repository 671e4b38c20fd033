import { decodeCapabilities, findCapability } from "../abi/capability.js";
import type { Decoded } from "../abi/codec.js";
import { errno } from "../abi/errno.js";
import type { Ioctl } from "../abi/ioctl.js";
import {
  dmaMap,
  dmaUnmap,
  VFIO_API_VERSION,
  VFIO_CHECK_EXTENSION,
  VFIO_DMA_MAP_FLAG,
  VFIO_EXTENSION,
  VFIO_GET_API_VERSION,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  VFIO_SET_IOMMU,
} from "../abi/vfio-container.js";
import {
  availableMappings,
  iovaRanges,
  type1Info,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_INFO,
  VFIO_IOMMU_TYPE1_INFO,
} from "../abi/vfio-container-info.js";
import { IospanError } from "../errors.js";
import { hex, type Iova, type IovaRange, iova as toIova } from "../iova.js";
import type { MappedMemory } from "../syscalls/mapped-memory.js";
import { O_RDWR } from "../syscalls/mmap-flags.js";
import { type Fd, SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import { mapRefused, openRefused, probeRefused, setIommuRefused, unmapRefused } from "./container-refusals.js";
import { failuresOf, withFailures } from "./failures.js";
import type { Group } from "./group.js";
import { inaccessiblePage } from "./inaccessible-page.js";
import { type About, malformed, unexplained } from "./refusal.js";

/** Every {@link Access}. */
export const accesses = ["read", "write", "read-write"] as const;

/**
 * What devices may do with mapped memory, seen from the device: `read` lets it read the memory.
 * An SMMU's stage 1 cannot forbid reading: there a `write` mapping is readable too (io-pgtable-arm.c, arm_lpae_prot_to_pte).
 */
export type Access = (typeof accesses)[number];

/** What a container says of itself. */
export interface ContainerInfo {
  /** Bitmap of the page sizes that every IOMMU behind it supports. */
  readonly pageSizes: bigint;
  /** Where mappings may lie. */
  readonly ranges: readonly IovaRange[];
  /** How many more mappings it takes; undefined where the kernel does not count them: before Linux 5.10, and in an iommufd. */
  readonly available: number | undefined;
}

/** One mapping to make. */
export interface DmaMapping {
  readonly iova: Iova;
  /** Where the memory is in this process. */
  readonly address: bigint;
  /** Bytes. */
  readonly size: number;
  readonly access: Access;
}

const ACCESS_FLAGS: Readonly<Record<Access, number>> = {
  read: VFIO_DMA_MAP_FLAG.READ,
  write: VFIO_DMA_MAP_FLAG.WRITE,
  "read-write": VFIO_DMA_MAP_FLAG.READ | VFIO_DMA_MAP_FLAG.WRITE,
};

const CONTAINER_PATH = "/dev/vfio/vfio";

/**
 * A VFIO container with the type1 v2 backend: one set of mappings for all groups in it. The kernel keeps as many IOMMU
 * domains below it as the groups' IOMMUs need (vfio_iommu_type1.c, vfio_iommu_type1_attach_group).
 */
export class Container implements Disposable {
  readonly #syscalls: Syscalls;
  readonly #groups = new Set<Group>();
  #fd: Fd | undefined;
  #probePage: MappedMemory | undefined;

  private constructor(syscalls: Syscalls, fd: Fd) {
    this.#syscalls = syscalls;
    this.#fd = fd;
  }

  /**
   * @param about the device it is opened for and that device's IOMMU, for errors: there is no group inside yet.
   * @throws IospanError `ERR_IOSPAN_NO_VFIO` where the kernel has no VFIO or no type1 backend, `ERR_IOSPAN_NO_PERMISSION`.
   */
  static async open(syscalls: Syscalls, about: About = {}): Promise<Container> {
    let fd: Fd;
    try {
      fd = await syscalls.openAsync(CONTAINER_PATH, O_RDWR);
    } catch (error) {
      throw openRefused(error, CONTAINER_PATH, about);
    }
    try {
      checkVersion(syscalls, fd, about);
    } catch (error) {
      const failures = failuresOf(() => syscalls.close(fd));
      throw withFailures(unexplained(error, `asking ${CONTAINER_PATH} for its version`, about), failures);
    }
    return new Container(syscalls, fd);
  }

  get closed(): boolean {
    return this.#fd === undefined;
  }

  /** IOMMUs behind the groups inside, joined for messages. */
  get iommus(): string {
    return [...new Set([...this.#groups].map((group) => group.iommu))].join(", ");
  }

  /** The devices that the groups inside were opened for, joined for messages. */
  get devices(): string {
    return [...new Set([...this.#groups].map((group) => group.device))].join(", ");
  }

  get groups(): ReadonlySet<Group> {
    return this.#groups;
  }

  /**
   * Puts a group into the container. The first one decides the backend; for a later one the kernel checks every mapping
   * against the group's reserved regions and aperture and replays them to its IOMMU.
   * @throws IospanError when the kernel refuses; the container is as before.
   */
  attach(group: Group): void {
    const fd = this.#openFd();
    group.setContainer(fd);
    try {
      if (this.#groups.size === 0) this.#setIommu(fd, group);
    } catch (error) {
      unsetQuietly(group);
      throw error;
    }
    this.#groups.add(group);
  }

  /** Takes a group out. With the last one the kernel drops every mapping. Its devices must be closed. */
  detach(group: Group): void {
    group.unsetContainer();
    this.#groups.delete(group);
  }

  /** @internal The group's file was closed, which took it out. */
  forget(group: Group): void {
    this.#groups.delete(group);
  }

  /** @throws IospanError `ERR_IOSPAN_MALFORMED_ANSWER` when the kernel's answer makes no sense. */
  info(): ContainerInfo {
    const bytes = this.#infoBytes(type1Info.size);
    const { flags, iova_pgsizes, cap_offset } = type1Info.decode(bytes);
    const chain = decodeCapabilities(bytes, (flags & VFIO_IOMMU_INFO.CAPS) === 0 ? 0 : cap_offset);
    const ranges = findCapability(chain, VFIO_IOMMU_TYPE1_INFO.CAP_IOVA_RANGE);
    const available = findCapability(chain, VFIO_IOMMU_TYPE1_INFO.DMA_AVAIL);
    return {
      pageSizes: iova_pgsizes,
      // A kernel too old to tell (before 5.6) lets the mapping itself fail.
      ranges: ranges === undefined ? [{ start: toIova(0), end: toIova(2n ** 64n - 1n) }] : iovaRanges(ranges),
      available: available === undefined ? undefined : availableMappings(available),
    };
  }

  /** @throws IospanError saying why the kernel refused; nothing is mapped then. */
  map(mapping: DmaMapping): void {
    this.#ioctl(VFIO_IOMMU_MAP_DMA, encodeMap(mapping), (error) => this.#mapRefused(error, mapping));
  }

  /** {@link map} off the event loop: pinning takes a while for large mappings. */
  async mapAsync(mapping: DmaMapping): Promise<void> {
    await this.#ioctlAsync(VFIO_IOMMU_MAP_DMA, encodeMap(mapping), (error) => this.#mapRefused(error, mapping));
  }

  /**
   * Removes what is mapped in a range of IOVAs that covers whole mappings. When it returns, no IOMMU of the container
   * translates them any more.
   * @returns bytes that were mapped and are no more; fewer than `size` where the range had holes.
   */
  unmap(iova: Iova, size: number): number {
    const bytes = dmaUnmap.encode({ iova, size });
    this.#ioctl(VFIO_IOMMU_UNMAP_DMA, bytes, (error) => unmapRefused(error, iova, size, this.#about));
    return unmappedSize(bytes, size, () => this.#about);
  }

  /** {@link unmap} off the event loop. */
  async unmapAsync(iova: Iova, size: number): Promise<number> {
    const bytes = dmaUnmap.encode({ iova, size });
    await this.#ioctlAsync(VFIO_IOMMU_UNMAP_DMA, bytes, (error) => unmapRefused(error, iova, size, this.#about));
    return unmappedSize(bytes, size, () => this.#about);
  }

  /**
   * Whether any byte of a range is mapped, asked of the kernel without changing anything: a MAP_DMA that cannot succeed,
   * because the memory it names cannot be pinned. The kernel looks for an overlap first (EEXIST) and at the memory last
   * (vfio_iommu_type1.c, vfio_dma_do_map).
   */
  isMapped(iova: Iova, size: bigint): boolean {
    try {
      this.#probePage ??= inaccessiblePage(this.#syscalls);
    } catch (error) {
      throw unexplained(error, "taking a page of address space to ask the kernel with", this.#about);
    }
    const { address } = this.#probePage;
    const bytes = dmaMap.encode({ flags: VFIO_DMA_MAP_FLAG.READ, vaddr: address, iova, size });
    try {
      this.#syscalls.ioctl(this.#openFd(), VFIO_IOMMU_MAP_DMA, bytes);
    } catch (error) {
      return probeAnswer(error, iova, size, this.#about);
    }
    // Unpinnable memory was pinned: undo it and say so.
    this.unmap(iova, Number(size));
    throw malformed(`the kernel mapped inaccessible memory at ${hex(iova)}`, this.#about);
  }

  /**
   * Closes the container. Groups that are still inside keep its mappings alive in the kernel: take them out first.
   * @throws IospanError when the kernel reports an error; the container is closed all the same.
   */
  close(): void {
    const fd = this.#fd;
    if (fd === undefined) return;
    this.#fd = undefined;
    try {
      try {
        this.#probePage?.release();
      } finally {
        this.#syscalls.close(fd);
      }
    } catch (error) {
      throw unexplained(error, "closing the container", this.#about);
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #setIommu(fd: Fd, group: Group): void {
    try {
      this.#syscalls.ioctl(fd, VFIO_SET_IOMMU, VFIO_EXTENSION.TYPE1v2_IOMMU);
    } catch (error) {
      throw setIommuRefused(error, group);
    }
  }

  /** Asks with room for the struct, then again with as much room as the kernel wants; the chain may grow in between. */
  #infoBytes(length: number): Uint8Array {
    const bytes = type1Info.encode({}, new Uint8Array(length - type1Info.size));
    this.#ioctl(VFIO_IOMMU_GET_INFO, bytes, (error) =>
      unexplained(error, `asking what ${this.iommus} can map`, this.#about),
    );
    const { argsz } = type1Info.decode(bytes);
    if (argsz <= length) return bytes;
    if (argsz > MOST_INFO_BYTES) {
      throw malformed(`the container wants ${argsz} bytes to describe itself`, this.#about);
    }
    return this.#infoBytes(argsz);
  }

  /** Whom an error of a call on the container is about. */
  get #about(): About {
    return { device: this.devices, iommu: this.iommus };
  }

  #mapRefused(error: unknown, mapping: DmaMapping): unknown {
    return mapRefused(error, mapping, this.#about, this.#syscalls);
  }

  /** A call on the container; `explain` makes the error of a refusal. */
  #ioctl(call: Ioctl, bytes: Uint8Array, explain: (error: unknown) => unknown): void {
    try {
      this.#syscalls.ioctl(this.#openFd(), call, bytes);
    } catch (error) {
      throw explain(error);
    }
  }

  async #ioctlAsync(call: Ioctl, bytes: Uint8Array, explain: (error: unknown) => unknown): Promise<void> {
    try {
      await this.#syscalls.ioctlAsync(this.#openFd(), call, bytes);
    } catch (error) {
      throw explain(error);
    }
  }

  #openFd(): Fd {
    if (this.#fd !== undefined) return this.#fd;
    throw new IospanError("ERR_IOSPAN_CLOSED", "the container is closed", { hint: "open a new one" });
  }
}

/** The reason is the error before; a group that stays is taken out when its file is closed. */
function unsetQuietly(group: Group): void {
  try {
    group.unsetContainer();
  } catch {
    // Nothing to add: see above.
  }
}

/** A page of IOVA ranges is some 250 of them; no real machine has more, and a wrong answer must not fill the memory. */
const MOST_INFO_BYTES = 2 ** 20;

function checkVersion(syscalls: Syscalls, fd: Fd, about: About): void {
  const version = syscalls.ioctl(fd, VFIO_GET_API_VERSION, 0);
  if (version !== VFIO_API_VERSION) {
    throw new IospanError("ERR_IOSPAN_NO_VFIO", `VFIO's API version is ${version}, not ${VFIO_API_VERSION}`, {
      ...about,
      hint: "use a newer iospan",
    });
  }
  if (syscalls.ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_EXTENSION.TYPE1v2_IOMMU) === 0) {
    throw new IospanError("ERR_IOSPAN_NO_VFIO", "the kernel offers no type1 IOMMU backend", {
      ...about,
      hint: "modprobe vfio_iommu_type1",
    });
  }
}

function encodeMap({ iova, address, size, access }: DmaMapping): Uint8Array {
  return dmaMap.encode({ flags: ACCESS_FLAGS[access], vaddr: address, iova, size });
}

function unmappedSize(bytes: Uint8Array, asked: number, about: () => About): number {
  const { size }: Decoded<typeof dmaUnmap> = dmaUnmap.decode(bytes);
  if (size > BigInt(asked)) {
    throw malformed(`the kernel says it unmapped ${size} of ${asked} bytes`, about());
  }
  return Number(size);
}

/** What a probing MAP_DMA was refused with says whether the range was free. */
function probeAnswer(error: unknown, iova: Iova, size: bigint, about: About): boolean {
  if (!(error instanceof SyscallError)) throw error;
  switch (error.errno) {
    case errno.EEXIST:
      return true;
    // Free, but outside the valid ranges; free, but no entry left; free, and the memory was looked at.
    case errno.EINVAL:
    case errno.ENOSPC:
    case errno.EFAULT:
      return false;
    default:
      throw probeRefused(error, iova, size, about);
  }
}

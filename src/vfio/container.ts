import type { Decoded } from "../abi/codec.js";
import type { Ioctl } from "../abi/ioctl.js";
import {
  dmaMap,
  dmaUnmap,
  VFIO_DMA_MAP_FLAG,
  VFIO_DMA_UNMAP_FLAG,
  VFIO_EXTENSION,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  VFIO_SET_IOMMU,
} from "../abi/vfio-container.js";
import { VFIO_IOMMU_GET_INFO } from "../abi/vfio-container-info.js";
import { IospanError } from "../errors.js";
import type { Iova } from "../iova.js";
import { O_RDWR } from "../syscalls/mmap-flags.js";
import type { Fd, Syscalls } from "../syscalls/syscalls.js";
import { allMappedInCompatIoas } from "./compat-ioas.js";
import { type ContainerInfo, readContainerInfo } from "./container-info.js";
import { type ContainerKind, kindOf } from "./container-kind.js";
import { cutsMapping, mapRefused, openRefused, setIommuRefused, unmapRefused } from "./container-refusals.js";
import { failuresOf, withFailures } from "./failures.js";
import type { Group } from "./group.js";
import { answered } from "./kernel-question.js";
import { MappedRanges } from "./mapped-ranges.js";
import { MappingProbe } from "./mapping-probe.js";
import { probedContainer } from "./probed-container.js";
import { type About, malformed, unexplained } from "./refusal.js";

export type { ContainerInfo } from "./container-info.js";
export type { ContainerKind } from "./container-kind.js";

/** Every {@link Access}. */
export const accesses = ["read", "write", "read-write"] as const;

/**
 * What devices may do with mapped memory, seen from the device: `read` lets it read the memory.
 * An SMMU's stage 1 cannot forbid reading: there a `write` mapping is readable too (io-pgtable-arm.c, arm_lpae_prot_to_pte).
 */
export type Access = (typeof accesses)[number];

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
 *
 * Where {@link kind} is `"iommufd"` the calls are the same, and what they do comes later: an IOMMU is behind it from when the
 * first of its devices is opened until the last one is closed. Only then is a mapping checked against what the IOMMU allows,
 * and its memory pinned: opening a device is what is refused for it (drivers/vfio/group.c, vfio_df_group_open).
 */
export class Container implements Disposable {
  /** Who answers its calls. */
  readonly kind: ContainerKind;
  /**
   * Whether every byte of a range is mapped, in however many mappings, as the kernel sees it. VFIO's own container can only be
   * asked about any, see {@link isMapped}: there it is absent.
   */
  readonly isWhole?: (iova: Iova, size: bigint) => boolean;
  readonly #syscalls: Syscalls;
  readonly #groups = new Set<Group>();
  readonly #probe: MappingProbe;
  /** What is mapped, where the kernel may unmap a part of what it then refuses to. */
  readonly #mapped: MappedRanges | undefined;
  #fd: Fd | undefined;
  /** It had groups, so that there may be mappings. */
  #used = false;

  private constructor(syscalls: Syscalls, fd: Fd, kind: ContainerKind) {
    this.#syscalls = syscalls;
    this.#fd = fd;
    this.kind = kind;
    this.#probe = new MappingProbe(syscalls);
    if (kind === "type1") return;
    this.#mapped = new MappedRanges();
    this.isWhole = (iova, size) =>
      answered({ syscalls, fd: this.#openFd() }, allMappedInCompatIoas({ iova, size }, this.#about));
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
      return new Container(syscalls, fd, kindOf(syscalls, fd, about));
    } catch (error) {
      const failures = failuresOf(() => syscalls.close(fd));
      throw withFailures(unexplained(error, `asking ${CONTAINER_PATH} for its version`, about), failures);
    }
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
   * against the group's reserved regions and aperture and replays them to its IOMMU; an iommufd does so when a device of the
   * group is opened.
   * @throws IospanError when the kernel refuses; the container is as before.
   */
  attach(group: Group): void {
    const fd = this.#openFd();
    group.setContainer(fd, this.kind);
    try {
      if (this.#groups.size === 0) this.#begin(fd, group);
    } catch (error) {
      unsetQuietly(group);
      throw error;
    }
    this.#groups.add(group);
  }

  /**
   * Takes a group out. Its devices must be closed. With the last one every mapping is dropped; an iommufd keeps them, for
   * nobody, until the next group comes in or it is closed.
   * @throws IospanError `ERR_IOSPAN_BUSY` while a device of the group is open.
   */
  detach(group: Group): void {
    group.unsetContainer();
    this.#groups.delete(group);
  }

  /** @internal The group's file was closed, which took it out. */
  forget(group: Group): void {
    this.#groups.delete(group);
  }

  /**
   * What every IOMMU behind it allows. Before an iommufd has one behind it that is everything: ask again when a device is open.
   * @throws IospanError `ERR_IOSPAN_MALFORMED_ANSWER` when the kernel's answer makes no sense.
   */
  info(): ContainerInfo {
    const explain = (error: unknown) => unexplained(error, `asking what ${this.iommus} can map`, this.#about);
    return readContainerInfo(this.kind, (bytes) => this.#ioctl(VFIO_IOMMU_GET_INFO, bytes, explain), this.#about);
  }

  /** @throws IospanError saying why the kernel refused; nothing is mapped then. */
  map(mapping: DmaMapping): void {
    this.#ioctl(VFIO_IOMMU_MAP_DMA, encodeMap(mapping), (error) => this.#mapRefused(error, mapping));
    this.#noteMapped(mapping);
  }

  /** {@link map} off the event loop: pinning takes a while for large mappings. */
  async mapAsync(mapping: DmaMapping): Promise<void> {
    await this.#ioctlAsync(VFIO_IOMMU_MAP_DMA, encodeMap(mapping), (error) => this.#mapRefused(error, mapping));
    this.#noteMapped(mapping);
  }

  /**
   * Removes what is mapped in a range of IOVAs that covers whole mappings. When it returns, no IOMMU of the container
   * translates them any more.
   * @returns bytes that were mapped and are no more; fewer than `size` where the range had holes.
   * @throws IospanError `ERR_IOSPAN_UNMAP_REFUSED` for a range that cuts a mapping; nothing is unmapped then.
   */
  unmap(iova: Iova, size: number): number {
    const bytes = this.#encodeUnmap(iova, size);
    this.#ioctl(VFIO_IOMMU_UNMAP_DMA, bytes, (error) => this.#unmapRefused(error, bytes, iova, size));
    return this.#unmapped(bytes, iova, size);
  }

  /** {@link unmap} off the event loop. */
  async unmapAsync(iova: Iova, size: number): Promise<number> {
    const bytes = this.#encodeUnmap(iova, size);
    await this.#ioctlAsync(VFIO_IOMMU_UNMAP_DMA, bytes, (error) => this.#unmapRefused(error, bytes, iova, size));
    return this.#unmapped(bytes, iova, size);
  }

  /**
   * Whether any byte of a range is mapped, asked of the kernel without changing anything: a MAP_DMA that cannot succeed,
   * because the memory it names cannot be pinned.
   */
  isMapped(iova: Iova, size: bigint): boolean {
    const asked = { syscalls: this.#syscalls, fd: this.#openFd() };
    const container = probedContainer(asked, this.kind, () => this.info().ranges, this.#about);
    return this.#probe.isMapped(container, { iova, size });
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
        this.#probe.release();
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

  /** The first group is inside. */
  #begin(fd: Fd, group: Group): void {
    try {
      this.#syscalls.ioctl(fd, VFIO_SET_IOMMU, VFIO_EXTENSION.TYPE1v2_IOMMU);
    } catch (error) {
      throw setIommuRefused(error, group);
    }
    if (this.#used) this.#dropLeftovers(group);
    this.#used = true;
  }

  /** What VFIO did when the last group left. */
  #dropLeftovers({ device, iommu }: Group): void {
    if (this.#mapped === undefined) return;
    const all = dmaUnmap.encode({ flags: VFIO_DMA_UNMAP_FLAG.ALL });
    this.#ioctl(VFIO_IOMMU_UNMAP_DMA, all, (error) =>
      unexplained(error, "unmapping what was mapped for other groups", { device, iommu }),
    );
    this.#mapped.clear();
  }

  #noteMapped({ iova, size }: DmaMapping): void {
    this.#mapped?.add({ iova, size: BigInt(size) });
  }

  #encodeUnmap(iova: Iova, size: number): Uint8Array {
    const bytes = dmaUnmap.encode({ iova, size });
    const cut = this.#mapped?.cutBy({ iova, size: BigInt(size) });
    if (cut !== undefined) throw cutsMapping(iova, size, cut, this.#about);
    return bytes;
  }

  #unmapRefused(error: unknown, bytes: Uint8Array, iova: Iova, size: number): unknown {
    const gone = this.kind === "iommufd" ? dmaUnmap.decode(bytes).size : 0n;
    return unmapRefused(error, { iova, size, gone }, this.#about);
  }

  #unmapped(bytes: Uint8Array, iova: Iova, size: number): number {
    this.#mapped?.remove({ iova, size: BigInt(size) });
    return unmappedSize(bytes, size, () => this.#about);
  }

  /** Whom an error of a call on the container is about. */
  get #about(): About {
    return { device: this.devices, iommu: this.iommus };
  }

  #mapRefused(error: unknown, mapping: DmaMapping): unknown {
    return mapRefused(error, mapping, { about: this.#about, kind: this.kind }, this.#syscalls);
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

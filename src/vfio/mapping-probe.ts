import { errno } from "../abi/errno.js";
import {
  dmaMap,
  dmaUnmap,
  VFIO_DMA_MAP_FLAG,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
} from "../abi/vfio-container.js";
import { hex, type IovaRange, iova as toIova } from "../iova.js";
import type { MappedMemory } from "../syscalls/mapped-memory.js";
import { type Fd, SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import type { ContainerKind } from "./container-kind.js";
import { probeRefused } from "./container-refusals.js";
import { inaccessiblePage } from "./inaccessible-page.js";
import { type About, malformed, unexplained } from "./refusal.js";

/** A range of I/O virtual addresses. */
export interface IovaSize {
  readonly iova: bigint;
  /** Bytes. */
  readonly size: bigint;
}

/** A container to be asked, and what is known of it. */
export interface Probed {
  readonly fd: Fd;
  readonly kind: ContainerKind;
  readonly about: About;
  /** Where mappings may lie. */
  ranges(): readonly IovaRange[];
}

/** What a range was found to be. `ruled out`: none, or not all of it, may be mapped, and what is mapped was not looked at. */
type Finding = "mapped" | "free" | "ruled out";

/**
 * Finds out whether something is mapped, which the kernel has no call for, without changing anything: by a MAP_DMA that
 * cannot succeed, because the memory it names cannot be pinned.
 *
 * VFIO looks for an overlap first (EEXIST) and at the memory last (vfio_iommu_type1.c, vfio_dma_do_map). An iommufd looks
 * first at what is ruled out (EINVAL), and at the memory not before a device is attached (io_pagetable.c, iopt_check_iova).
 */
export class MappingProbe {
  readonly #syscalls: Syscalls;
  #page: MappedMemory | undefined;

  constructor(syscalls: Syscalls) {
    this.#syscalls = syscalls;
  }

  /** Whether any byte of a range is mapped. */
  isMapped(container: Probed, range: IovaSize): boolean {
    const finding = this.#find(container, range);
    if (finding !== "ruled out" || container.kind === "type1") return finding === "mapped";
    const end = range.iova + range.size - 1n;
    return container.ranges().some((valid) => {
      const first = valid.start > range.iova ? valid.start : range.iova;
      const last = valid.end < end ? valid.end : end;
      return first <= last && this.#find(container, { iova: first, size: last - first + 1n }) === "mapped";
    });
  }

  /** Gives back the memory that it asked with. */
  release(): void {
    const page = this.#page;
    this.#page = undefined;
    page?.release();
  }

  #find(container: Probed, { iova, size }: IovaSize): Finding {
    const { fd, kind, about } = container;
    const bytes = dmaMap.encode({ flags: VFIO_DMA_MAP_FLAG.READ, vaddr: this.#inaccessible(about), iova, size });
    try {
      this.#syscalls.ioctl(fd, VFIO_IOMMU_MAP_DMA, bytes);
    } catch (error) {
      return finding(error, { iova, size }, about);
    }
    this.#undo(container, { iova, size });
    if (kind === "iommufd") return "free";
    // Unpinnable memory was pinned: it is undone, and said so.
    throw malformed(`the kernel mapped inaccessible memory at ${hex(iova)}`, about);
  }

  #undo({ fd, about }: Probed, range: IovaSize): void {
    try {
      this.#syscalls.ioctl(fd, VFIO_IOMMU_UNMAP_DMA, dmaUnmap.encode(range));
    } catch (error) {
      throw unexplained(error, "undoing what the kernel was asked with", about);
    }
  }

  #inaccessible(about: About): bigint {
    try {
      this.#page ??= inaccessiblePage(this.#syscalls);
      return this.#page.address;
    } catch (error) {
      throw unexplained(error, "taking a page of address space to ask the kernel with", about);
    }
  }
}

/** What a probing MAP_DMA was refused with says whether the range was free. */
function finding(error: unknown, { iova, size }: IovaSize, about: About): Finding {
  if (!(error instanceof SyscallError)) throw error;
  switch (error.errno) {
    case errno.EEXIST:
      return "mapped";
    case errno.EINVAL:
      return "ruled out";
    // Free, but no entry is left; free, and the memory was looked at.
    case errno.ENOSPC:
    case errno.EFAULT:
      return "free";
    default:
      throw probeRefused(error, toIova(iova), size, about);
  }
}

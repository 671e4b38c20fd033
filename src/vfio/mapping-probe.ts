import { errno } from "../abi/errno.js";
import { hex, type IovaRange, iova as toIova } from "../iova.js";
import type { MappedMemory } from "../syscalls/mapped-memory.js";
import { SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import { probeRefused } from "./container-refusals.js";
import { inaccessiblePage } from "./inaccessible-page.js";
import { type About, malformed, unexplained } from "./refusal.js";

/** A range of I/O virtual addresses. */
export interface IovaSize {
  readonly iova: bigint;
  /** Bytes. */
  readonly size: bigint;
}

/** What has mappings and can be asked for them. */
export interface Probed {
  /** Whom an error is about. */
  readonly about: About;
  /** Maps memory for reading. @throws SyscallError as the kernel answers */
  tryMap(range: IovaSize, address: bigint): void;
  /** Unmaps it again. @throws SyscallError as the kernel answers */
  undo(range: IovaSize): void;
  /**
   * Where mappings may lie, of an iommufd: it looks at what is ruled out before it looks for mappings, and at no memory before a
   * device is attached. Absent where VFIO answers: it looks for mappings first, and at the memory always.
   */
  readonly ranges?: (() => readonly IovaRange[]) | undefined;
}

/** What a range was found to be. `ruled out`: none, or not all of it, may be mapped, and what is mapped was not looked at. */
type Finding = "mapped" | "free" | "ruled out";

/**
 * Finds out whether something is mapped, which the kernel has no call for, without changing anything: by a call that maps
 * memory that cannot be pinned, and cannot succeed for that.
 *
 * VFIO looks for an overlap first (EEXIST) and at the memory last (vfio_iommu_type1.c, vfio_dma_do_map). An iommufd looks
 * first at what is ruled out (EINVAL), and at the memory not before a device is attached (io_pagetable.c, iopt_check_iova):
 * without one it does map, which is undone. So it is asked synchronously, lest a device is attached in between.
 */
export class MappingProbe {
  readonly #syscalls: Syscalls;
  #page: MappedMemory | undefined;

  constructor(syscalls: Syscalls) {
    this.#syscalls = syscalls;
  }

  /** Whether any byte of a range is mapped. */
  isMapped(probed: Probed, range: IovaSize): boolean {
    const finding = this.#find(probed, range);
    if (finding !== "ruled out" || probed.ranges === undefined) return finding === "mapped";
    // What is not ruled out is asked about alone.
    const end = range.iova + range.size - 1n;
    return probed.ranges().some((valid) => {
      const first = valid.start > range.iova ? valid.start : range.iova;
      const last = valid.end < end ? valid.end : end;
      return first <= last && this.#find(probed, { iova: first, size: last - first + 1n }) === "mapped";
    });
  }

  /** Gives back the memory that it asked with. */
  release(): void {
    const page = this.#page;
    this.#page = undefined;
    page?.release();
  }

  #find(probed: Probed, range: IovaSize): Finding {
    const { about } = probed;
    const address = this.#inaccessible(about);
    try {
      probed.tryMap(range, address);
    } catch (error) {
      return finding(error, range, about);
    }
    undo(probed, range);
    if (probed.ranges !== undefined) return "free";
    // Unpinnable memory was pinned: it is undone, and said so.
    throw malformed(`the kernel mapped inaccessible memory at ${hex(range.iova)}`, about);
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

function undo(probed: Probed, range: IovaSize): void {
  try {
    probed.undo(range);
  } catch (error) {
    throw unexplained(error, "undoing what the kernel was asked with", probed.about);
  }
}

/** What the call was refused with says whether the range was free. */
function finding(error: unknown, { iova, size }: IovaSize, about: About): Finding {
  if (!(error instanceof SyscallError)) throw error;
  switch (error.errno) {
    case errno.EEXIST:
      return "mapped";
    case errno.EINVAL:
      return "ruled out";
    // Free, but VFIO has no entry left; free, and the memory was looked at.
    case errno.ENOSPC:
    case errno.EFAULT:
      return "free";
    default:
      throw probeRefused(error, toIova(iova), size, about);
  }
}

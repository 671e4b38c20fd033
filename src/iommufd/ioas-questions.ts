import { errno } from "../abi/errno.js";
import type { Ioctl } from "../abi/ioctl.js";
import {
  IOMMU_IOAS_ALLOC,
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_UNMAP,
  ioasAlloc,
  ioasCopy,
  ioasMap,
  ioasUnmap,
} from "../abi/iommufd-ioas.js";
import { destroy, IOMMU_DESTROY } from "../abi/iommufd-object.js";
import { type Iova, iova as toIova } from "../iova.js";
import type { MappedMemory } from "../syscalls/mapped-memory.js";
import { SyscallError } from "../syscalls/syscalls.js";
import { probeRefused } from "../vfio/container-refusals.js";
import { failuresOf, withFailures } from "../vfio/failures.js";
import { inaccessiblePage } from "../vfio/inaccessible-page.js";
import { type About, unexplained } from "../vfio/refusal.js";
import { FIXED } from "./io-mapping.js";
import { ioasRefused } from "./ioas-refusals.js";
import type { Iommufd } from "./iommufd.js";

/** 2^64: behind the last IOVA. */
const END = 2n ** 64n;

/** Any place will do in an address space that has nothing else. */
const SOMEWHERE = 0x1000n;

/**
 * What the kernel can be asked of the mappings in an address space without changing them. It has no call for that, so each
 * question is a call that is refused, or works in an address space made for the question, without devices: there nothing
 * is pinned, and mappings are as small as one byte (drivers/iommu/iommufd/io_pagetable.c).
 */
export class IoasQuestions {
  readonly #iommufd: Iommufd;
  readonly #ioas: number;
  #probePage: MappedMemory | undefined;

  constructor(iommufd: Iommufd, ioas: number) {
    this.#iommufd = iommufd;
    this.#ioas = ioas;
  }

  /**
   * Whether any byte of a range is mapped: a map that cannot succeed, because the memory it names cannot be pinned. The
   * kernel looks for an overlap (EEXIST) before it looks at the memory (EFAULT), but at what is ruled out (EINVAL) before both
   * (iopt_check_iova).
   */
  anyMapped(iova: Iova, size: bigint, about: About): "mapped" | "free" | "ruled out" {
    const user_va = this.#inaccessible(about);
    const bytes = ioasMap.encode({ ioas_id: this.#ioas, flags: FIXED.read, user_va, iova, length: size });
    const { syscalls, fd } = this.#iommufd;
    try {
      syscalls.ioctl(fd, IOMMU_IOAS_MAP, bytes);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      if (error.errno === errno.EEXIST) return "mapped";
      if (error.errno === errno.EFAULT) return "free";
      if (error.errno === errno.EINVAL) return "ruled out";
      throw probeRefused(error, iova, size, about);
    }
    // While there is no page table nobody looks at the memory.
    const undo = ioasUnmap.encode({ ioas_id: this.#ioas, iova, length: size });
    this.#iommufd.ioctl(IOMMU_IOAS_UNMAP, undo, (error) =>
      unexplained(error, "undoing what the kernel was asked with", about),
    );
    return "free";
  }

  /** Whether every byte of a range is mapped, in however many mappings: one with holes is not copied (iopt_get_pages). */
  allMapped(iova: Iova, size: bigint, about: About): boolean {
    return this.#inScratch(about, (scratch) => {
      const copied = this.#copyTo(scratch, iova, { iova, size });
      if (copied === undefined) return true;
      if (copied.errno === errno.ENOENT) return false;
      throw probeRefused(copied, iova, size, about);
    });
  }

  /**
   * Whether a range begins or ends inside of a mapping. The two bytes around each end are copied: where both are mapped, they
   * are one mapping there or two, as here, and the first can be unmapped alone or cannot (iopt_unmap_iova_range).
   * @returns the kernel's refusal to do that, or undefined where nothing is cut
   */
  cut(iova: Iova, size: bigint, about: About): SyscallError | undefined {
    const ends = [iova, iova + size].filter((end) => end > 0n && end < END);
    if (ends.length === 0) return undefined;
    return this.#inScratch(about, (scratch) => {
      for (const end of ends) {
        const refusal = this.#cutAt(toIova(end - 1n), scratch, about);
        if (refusal !== undefined) return refusal;
      }
      return undefined;
    });
  }

  /** Gives back the memory that it asked with. */
  release(): void {
    const page = this.#probePage;
    this.#probePage = undefined;
    page?.release();
  }

  #cutAt(last: Iova, scratch: number, about: About): SyscallError | undefined {
    const copied = this.#copyTo(scratch, SOMEWHERE, { iova: last, size: 2n });
    if (copied?.errno === errno.ENOENT) return undefined;
    if (copied !== undefined) throw probeRefused(copied, last, 2n, about);
    const first = this.#refusalOf(IOMMU_IOAS_UNMAP, unmapOf(scratch, SOMEWHERE, 1n));
    if (first?.errno === errno.ENOENT) return first;
    const second = first ?? this.#refusalOf(IOMMU_IOAS_UNMAP, unmapOf(scratch, SOMEWHERE + 1n, 1n));
    if (second !== undefined) throw probeRefused(second, last, 2n, about);
    return undefined;
  }

  /** Reading is what everything may be copied for. */
  #copyTo(scratch: number, dst_iova: bigint, from: { readonly iova: Iova; readonly size: bigint }) {
    const ids = { src_ioas_id: this.#ioas, dst_ioas_id: scratch };
    const { iova: src_iova, size: length } = from;
    return this.#refusalOf(IOMMU_IOAS_COPY, ioasCopy.encode({ ...ids, flags: FIXED.read, src_iova, dst_iova, length }));
  }

  #refusalOf(call: Ioctl, bytes: Uint8Array): SyscallError | undefined {
    try {
      this.#iommufd.syscalls.ioctl(this.#iommufd.fd, call, bytes);
      return undefined;
    } catch (error) {
      if (error instanceof SyscallError) return error;
      throw error;
    }
  }

  #inScratch<T>(about: About, ask: (scratch: number) => T): T {
    const bytes = ioasAlloc.encode();
    this.#iommufd.ioctl(IOMMU_IOAS_ALLOC, bytes, (error) => ioasRefused(error, about));
    const scratch = ioasAlloc.decode(bytes).out_ioas_id;
    const end = () =>
      this.#iommufd.ioctl(IOMMU_DESTROY, destroy.encode({ id: scratch }), (error) =>
        unexplained(error, "ending the address space that the kernel was asked with", about),
      );
    let answer: T;
    try {
      answer = ask(scratch);
    } catch (error) {
      throw withFailures(error, failuresOf(end));
    }
    end();
    return answer;
  }

  #inaccessible(about: About): bigint {
    try {
      this.#probePage ??= inaccessiblePage(this.#iommufd.syscalls);
      return this.#probePage.address;
    } catch (error) {
      throw unexplained(error, "taking a page of address space to ask the kernel with", about);
    }
  }
}

function unmapOf(ioas_id: number, iova: bigint, length: bigint): Uint8Array {
  return ioasUnmap.encode({ ioas_id, iova, length });
}

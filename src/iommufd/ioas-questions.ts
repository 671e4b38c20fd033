import { errno } from "../abi/errno.js";
import { IOMMU_IOAS_MAP, IOMMU_IOAS_UNMAP, ioasMap, ioasUnmap } from "../abi/iommufd-ioas.js";
import { type IovaRange, iova as toIova } from "../iova.js";
import type { SyscallError } from "../syscalls/syscalls.js";
import { probeRefused } from "../vfio/container-refusals.js";
import { copies } from "../vfio/copy-question.js";
import type { Asked, KernelQuestion } from "../vfio/kernel-question.js";
import type { IovaSize, Probed } from "../vfio/mapping-probe.js";
import type { About } from "../vfio/refusal.js";
import { SOMEWHERE, withScratchIoas } from "../vfio/scratch-ioas.js";
import { FIXED } from "./io-mapping.js";

/** 2^64: behind the last IOVA. */
const END = 2n ** 64n;

/**
 * Whether a range begins or ends inside of a mapping of an address space. The two bytes around each end are copied: where both
 * are mapped, they are one mapping there or two, as here, and the first can be unmapped alone or cannot
 * (drivers/iommu/iommufd/io_pagetable.c, iopt_unmap_iova_range).
 * @returns the kernel's refusal to do that, or undefined where nothing is cut
 */
export function* cutBy(ioas: number, { iova, size }: IovaSize, about: About): KernelQuestion<SyscallError | undefined> {
  const ends = [iova, iova + size].filter((end) => end > 0n && end < END);
  if (ends.length === 0) return undefined;
  return yield* withScratchIoas(about, function* (scratch) {
    for (const end of ends) {
      const refused = yield* cutAt(end - 1n, { from: ioas, to: scratch }, about);
      if (refused !== undefined) return refused;
    }
    return undefined;
  });
}

function* cutAt(
  last: bigint,
  ids: { readonly from: number; readonly to: number },
  about: About,
): KernelQuestion<SyscallError | undefined> {
  const range = { iova: last, size: 2n };
  if (!(yield* copies({ ...ids, range, at: SOMEWHERE }, about))) return undefined;
  const first = yield unmapOf(ids.to, { iova: SOMEWHERE, size: 1n });
  if (first?.errno === errno.ENOENT) return first;
  const refused = first ?? (yield unmapOf(ids.to, { iova: SOMEWHERE + 1n, size: 1n }));
  if (refused !== undefined) throw probeRefused(refused, toIova(last), 2n, about);
  return undefined;
}

/** An address space to ask for its mappings. @param ranges where mappings may lie */
export function probedIoas(
  { syscalls, fd }: Asked,
  ioas_id: number,
  ranges: () => readonly IovaRange[],
  about: About,
): Probed {
  return {
    about,
    tryMap: ({ iova, size: length }, user_va) => {
      syscalls.ioctl(fd, IOMMU_IOAS_MAP, ioasMap.encode({ ioas_id, flags: FIXED.read, user_va, iova, length }));
    },
    undo: (range) => {
      const { call, bytes } = unmapOf(ioas_id, range);
      syscalls.ioctl(fd, call, bytes);
    },
    ranges,
  };
}

function unmapOf(ioas_id: number, { iova, size: length }: IovaSize) {
  return { call: IOMMU_IOAS_UNMAP, bytes: ioasUnmap.encode({ ioas_id, iova, length }) };
}

import { errno } from "../abi/errno.js";
import { IOMMU_IOAS_COPY, IOMMU_IOAS_MAP_FLAG, ioasCopy } from "../abi/iommufd-ioas.js";
import { iova as toIova } from "../iova.js";
import { probeRefused } from "./container-refusals.js";
import type { KernelQuestion } from "./kernel-question.js";
import type { IovaSize } from "./mapping-probe.js";
import type { About } from "./refusal.js";
import { withScratchIoas } from "./scratch-ioas.js";

/** What is copied, and where to. */
interface Copy {
  readonly from: number;
  readonly to: number;
  readonly range: IovaSize;
  /** Where in `to`: at the same place where absent. */
  readonly at?: bigint | undefined;
}

/** Reading is what everything may be copied for. */
const FLAGS = IOMMU_IOAS_MAP_FLAG.FIXED_IOVA | IOMMU_IOAS_MAP_FLAG.READABLE;

/**
 * Copies a range from one address space of an iommufd to another one.
 * @returns false where it has holes: those the kernel does not copy, and says ENOENT (io_pagetable.c, iopt_get_pages)
 */
export function* copies({ from, to, range, at }: Copy, about: About): KernelQuestion<boolean> {
  const { iova: src_iova, size: length } = range;
  const ids = { src_ioas_id: from, dst_ioas_id: to };
  const bytes = ioasCopy.encode({ ...ids, flags: FLAGS, src_iova, dst_iova: at ?? src_iova, length });
  const refused = yield { call: IOMMU_IOAS_COPY, bytes };
  if (refused === undefined) return true;
  if (refused.errno === errno.ENOENT) return false;
  throw probeRefused(refused, toIova(src_iova), length, about);
}

/** Whether every byte of a range of an address space is mapped, in however many mappings. Nothing is changed. */
export function allMapped(ioas: number, range: IovaSize, about: About): KernelQuestion<boolean> {
  return withScratchIoas(about, (scratch) => copies({ from: ioas, to: scratch, range }, about));
}

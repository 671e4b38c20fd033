import { errno } from "../abi/errno.js";
import { IOMMU_IOAS_UNMAP, ioasUnmap } from "../abi/iommufd-ioas.js";
import type { Iova } from "../iova.js";
import type { SyscallError } from "../syscalls/syscalls.js";
import { allMapped } from "../vfio/copy-question.js";
import { withFailures } from "../vfio/failures.js";
import type { KernelQuestion } from "../vfio/kernel-question.js";
import type { MappedRanges } from "../vfio/mapped-ranges.js";
import type { IovaSize } from "../vfio/mapping-probe.js";
import { type About, malformed } from "../vfio/refusal.js";
import { cutBy } from "./ioas-questions.js";
import { ioasUnmapRefused } from "./ioas-refusals.js";

/** An address space to unmap in. */
interface Unmapped {
  readonly id: number;
  /** Whom an error is about. */
  about(): About;
  /** What it has mapped through the same object. */
  readonly mapped: MappedRanges;
  /** Whether any byte of a range is mapped. */
  isMapped(range: IovaSize): boolean;
}

/** What the kernel says of a range that is none, before it looks at a mapping (iommufd_ioas_unmap, iopt_unmap_iova). */
const NO_RANGE: readonly number[] = [errno.EINVAL, errno.EOVERFLOW];

/**
 * Unmaps a range that cuts no mapping: that is looked for beforehand, but for a range that was mapped as one.
 * @param size bytes
 * @returns bytes that were mapped
 */
export function* unmapping(ioas: Unmapped, iova: Iova, size: number): KernelQuestion<number> {
  const { id, mapped } = ioas;
  const bytes = ioasUnmap.encode({ ioas_id: id, iova, length: size });
  const range = { iova, size: BigInt(size) };
  const cut = mapped.has(range) ? undefined : yield* cutBy(id, range, ioas.about());
  if (cut !== undefined) throw ioasUnmapRefused(cut, range, ioas.about());
  const refused = yield { call: IOMMU_IOAS_UNMAP, bytes };
  if (refused !== undefined && !isEmpty(refused, ioas, range)) throw yield* notUnmapped(refused, ioas, range);
  const length = refused === undefined ? ioasUnmap.decode(bytes).length : 0n;
  if (length > range.size)
    throw malformed(`the kernel says it unmapped ${length} of ${range.size} bytes`, ioas.about());
  mapped.remove(range);
  return Number(length);
}

/** ENOENT says that the range is empty, or that it cuts a mapping: of somebody who has mapped there meanwhile. */
function isEmpty({ errno: answer }: SyscallError, ioas: Unmapped, range: IovaSize): boolean {
  return answer === errno.ENOENT && !ioas.isMapped(range);
}

/**
 * The kernel goes mapping by mapping and does not say how far it came when it stops: at one that is held or being unmapped
 * (EBUSY), at a user of its pages who does not let go (EDEADLK), at one that is cut after all (iopt_unmap_iova_range).
 * @returns the error, which says what is left
 */
function* notUnmapped(refused: SyscallError, ioas: Unmapped, range: IovaSize): KernelQuestion<unknown> {
  const { id, mapped } = ioas;
  const about = ioas.about();
  if (NO_RANGE.includes(refused.errno)) return ioasUnmapRefused(refused, range, about);
  try {
    if (yield* allMapped(id, range, about)) return ioasUnmapRefused(refused, range, about);
    mapped.remove(range);
    return ioasUnmapRefused(refused, range, about, "in part");
  } catch (error) {
    mapped.remove(range);
    return withFailures(ioasUnmapRefused(refused, range, about, "unknown"), [error]);
  }
}

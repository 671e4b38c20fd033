import { errno } from "../abi/errno.js";
import { IOMMU_IOAS_MAP_FILE, ioasMapFile } from "../abi/iommufd-ioas.js";
import type { Fd, SyscallError } from "../syscalls/syscalls.js";
import { answered, type KernelQuestion } from "../vfio/kernel-question.js";
import { type About, unexplained } from "../vfio/refusal.js";
import { SOMEWHERE, withScratchIoas } from "../vfio/scratch-ioas.js";
import { FIXED } from "./io-mapping.js";
import type { Iommufd } from "./iommufd.js";

/** `unknown`: the kernel maps no dma-bufs, or not this exporter's. `revoked`: it does, but the exporter does not give it now. */
export type DmaBufAnswer = "taken" | "unknown" | "revoked";

/** What kernels answer that have not got the call, or were built without dma-bufs (CONFIG_DMA_SHARED_BUFFER). */
const UNKNOWN: readonly number[] = [errno.ENOTTY, errno.EOPNOTSUPP];

/**
 * Whether IOMMU_IOAS_MAP_FILE takes a dma-buf, found out in an address space of its own, without devices, where nothing comes
 * into an IOMMU. A kernel that knows dma-bufs looks at their size at once (pages.c, iopt_alloc_dmabuf_pages: EINVAL); an older
 * one takes it for any file, whose pages it looks for when a device is attached, and maps what lies beyond its end, or has no such
 * call (before 6.13).
 * @param size bytes that the dma-buf has
 * @throws IospanError where the kernel says neither, for want of memory or descriptors
 */
export function takesDmaBuf(iommufd: Iommufd, fd: Fd, size: number, about: About): DmaBufAnswer {
  return answered(
    iommufd,
    withScratchIoas(about, (scratch) => ask(scratch, { fd, size }, about)),
  );
}

function* ask(
  ioas: number,
  { fd, size }: { readonly fd: Fd; readonly size: number },
  about: About,
): KernelQuestion<DmaBufAnswer> {
  const beyond = yield mapFile(ioas, { fd, start: size, length: size });
  if (beyond === undefined || UNKNOWN.includes(beyond.errno)) return "unknown";
  if (beyond.errno !== errno.EINVAL) throw noAnswer(beyond, about);
  const refused = yield mapFile(ioas, { fd, start: 0, length: size });
  if (refused === undefined) return "taken";
  if (refused.errno === errno.ENODEV) return "revoked";
  if (refused.errno === errno.EOPNOTSUPP) return "unknown";
  throw noAnswer(refused, about);
}

function mapFile(ioas_id: number, part: { readonly fd: Fd; readonly start: number; readonly length: number }) {
  const bytes = ioasMapFile.encode({ ioas_id, flags: FIXED.read, iova: SOMEWHERE, ...part });
  return { call: IOMMU_IOAS_MAP_FILE, bytes };
}

function noAnswer(refused: SyscallError, about: About): unknown {
  return unexplained(refused, "asking whether the kernel maps dma-bufs", about);
}

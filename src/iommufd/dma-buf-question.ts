import { errno } from "../abi/errno.js";
import { IOMMU_IOAS_ALLOC, IOMMU_IOAS_MAP_FILE, ioasAlloc, ioasMapFile } from "../abi/iommufd-ioas.js";
import { destroy, IOMMU_DESTROY } from "../abi/iommufd-object.js";
import { type Fd, SyscallError } from "../syscalls/syscalls.js";
import { failuresOf, withFailures } from "../vfio/failures.js";
import { type About, unexplained } from "../vfio/refusal.js";
import { FIXED } from "./io-mapping.js";
import { ioasRefused } from "./ioas-refusals.js";
import type { Iommufd } from "./iommufd.js";

/** `unknown`: the kernel maps no dma-bufs, or not this exporter's. `revoked`: it does, but the exporter does not give it now. */
export type DmaBufAnswer = "taken" | "unknown" | "revoked";

/** Any place will do in an address space that has nothing else. */
const SOMEWHERE = 0x1000n;

/**
 * Whether IOMMU_IOAS_MAP_FILE takes a dma-buf, found out in an address space of its own, without devices, where nothing comes
 * into an IOMMU. A kernel that knows dma-bufs looks at their size at once (pages.c, iopt_alloc_dmabuf_pages); an older one
 * takes it for any file, whose pages it looks for when a device is attached, and maps what lies beyond its end.
 * @param size bytes that the dma-buf has
 */
export function takesDmaBuf(iommufd: Iommufd, fd: Fd, size: number, about: About): DmaBufAnswer {
  const bytes = ioasAlloc.encode();
  iommufd.ioctl(IOMMU_IOAS_ALLOC, bytes, (error) => ioasRefused(error, about));
  const scratch = ioasAlloc.decode(bytes).out_ioas_id;
  const end = () =>
    iommufd.ioctl(IOMMU_DESTROY, destroy.encode({ id: scratch }), (error) =>
      unexplained(error, "ending the address space that the kernel was asked with", about),
    );
  let answer: DmaBufAnswer;
  try {
    answer = ask(iommufd, scratch, { fd, size });
  } catch (error) {
    throw withFailures(unexplained(error, "asking whether the kernel maps dma-bufs", about), failuresOf(end));
  }
  end();
  return answer;
}

function ask(iommufd: Iommufd, ioas: number, { fd, size }: { readonly fd: Fd; readonly size: number }): DmaBufAnswer {
  const beyond = refusedWith(iommufd, ioas, { fd, start: size, length: size });
  if (beyond?.errno !== errno.EINVAL) return "unknown";
  const refused = refusedWith(iommufd, ioas, { fd, start: 0, length: size });
  if (refused === undefined) return "taken";
  if (refused.errno === errno.ENODEV) return "revoked";
  if (refused.errno === errno.EOPNOTSUPP) return "unknown";
  throw refused;
}

function refusedWith(
  { syscalls, fd: iommufd }: Iommufd,
  ioas_id: number,
  part: { readonly fd: Fd; readonly start: number; readonly length: number },
): SyscallError | undefined {
  try {
    const mapping = { ioas_id, flags: FIXED.read, iova: SOMEWHERE };
    syscalls.ioctl(iommufd, IOMMU_IOAS_MAP_FILE, ioasMapFile.encode({ ...mapping, ...part }));
    return undefined;
  } catch (error) {
    if (error instanceof SyscallError) return error;
    throw error;
  }
}

import { errno } from "../abi/errno.js";
import { IOMMU_VFIO_IOAS, IOMMU_VFIO_IOAS_OP, vfioIoas } from "../abi/iommufd-ioas.js";
import { type1Info, VFIO_IOMMU_GET_INFO } from "../abi/vfio-container-info.js";
import { SyscallError } from "../syscalls/syscalls.js";
import { type About, unexplained } from "../vfio/refusal.js";
import type { Iommufd } from "./iommufd.js";

/**
 * The sizes of pages and blocks that all page tables of an address space have, a bitmap. Only VFIO's container calls tell, of
 * the address space that they are pointed to (drivers/iommu/iommufd/vfio_compat.c). Undefined where the kernel has not got them.
 */
export function askPageSizes({ syscalls, fd }: Iommufd, ioas: number, about: About): bigint | undefined {
  const bytes = type1Info.encode();
  try {
    syscalls.ioctl(fd, IOMMU_VFIO_IOAS, vfioIoas.encode({ ioas_id: ioas, op: IOMMU_VFIO_IOAS_OP.SET }));
    syscalls.ioctl(fd, VFIO_IOMMU_GET_INFO, bytes);
  } catch (error) {
    if (error instanceof SyscallError && NOT_THERE.includes(error.errno)) return undefined;
    throw unexplained(error, "asking which pages can be mapped", about);
  }
  return type1Info.decode(bytes).iova_pgsizes;
}

const NOT_THERE: readonly number[] = [errno.ENOTTY, errno.EOPNOTSUPP];

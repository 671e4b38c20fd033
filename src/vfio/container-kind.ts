import { errno } from "../abi/errno.js";
import { VFIO_API_VERSION, VFIO_CHECK_EXTENSION, VFIO_EXTENSION, VFIO_GET_API_VERSION } from "../abi/vfio-container.js";
import { IospanError } from "../errors.js";
import { type Fd, SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import type { About } from "./refusal.js";

/**
 * Who answers a container's calls. `type1`: VFIO (drivers/vfio/container.c, vfio_iommu_type1.c). `iommufd`: an iommufd that
 * stands in for it (drivers/iommu/iommufd/vfio_compat.c), on kernels with CONFIG_IOMMUFD_VFIO_CONTAINER or where
 * `/dev/vfio/vfio` is a link to `/dev/iommu`.
 */
export type ContainerKind = "type1" | "iommufd";

/**
 * Who answers the calls of a container that was just opened.
 * @throws IospanError `ERR_IOSPAN_NO_VFIO` for an API that is not known, or without type1's calls.
 */
export function kindOf(syscalls: Syscalls, fd: Fd, about: About): ContainerKind {
  const version = syscalls.ioctl(fd, VFIO_GET_API_VERSION, 0);
  if (version !== VFIO_API_VERSION) {
    throw new IospanError("ERR_IOSPAN_NO_VFIO", `VFIO's API version is ${version}, not ${VFIO_API_VERSION}`, {
      ...about,
      hint: "use a newer iospan",
    });
  }
  if (syscalls.ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_EXTENSION.TYPE1v2_IOMMU) === 0) {
    throw new IospanError("ERR_IOSPAN_NO_VFIO", "the kernel offers no type1 IOMMU backend", {
      ...about,
      hint: "modprobe vfio_iommu_type1",
    });
  }
  return isIommufd(syscalls, fd) ? "iommufd" : "type1";
}

/**
 * A VFIO container always has an answer to which extensions there are, before it has a backend, too. An iommufd looks at its
 * address space to tell of coherency, and has none before the first group (iommufd_vfio_cc_iommu).
 */
function isIommufd(syscalls: Syscalls, fd: Fd): boolean {
  try {
    syscalls.ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_EXTENSION.DMA_CC_IOMMU);
    return false;
  } catch (error) {
    if (error instanceof SyscallError && error.errno === errno.ENODEV) return true;
    throw error;
  }
}

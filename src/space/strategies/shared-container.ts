import type { Syscalls } from "../../syscalls/syscalls.js";
import { ContainerStrategy } from "./containers.js";
import type { Strategy } from "./strategy.js";

/**
 * One container for all groups: the kernel keeps a domain per incompatible IOMMU in it and maps into all of them
 * (vfio_iommu_type1.c, vfio_iommu_type1_attach_group; where an iommufd is the container, a page table per IOMMU:
 * iommufd/device.c, iommufd_device_auto_get_domain). Memory is pinned and counted once.
 */
export function sharedContainer(syscalls: Syscalls): Strategy {
  return new ContainerStrategy(syscalls, "shared-container", false, () => "all");
}

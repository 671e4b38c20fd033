import type { Syscalls } from "../../syscalls/syscalls.js";
import { IommufdStrategy } from "./iommufd-strategy.js";
import type { Strategy } from "./strategy.js";
import { withWayOut } from "./way-out.js";

const WAY_OUT =
  "an iommufd takes no IOMMU whose smallest pages are larger than the processor's; open the space with " +
  '{ strategy: "mirrored" }, which maps what is a multiple of both';

/**
 * One I/O address space that every device is attached to: the kernel makes a page table per IOMMU and enters all mappings in
 * each (drivers/iommu/iommufd/device.c, iommufd_device_auto_get_domain). Memory is pinned once.
 */
export function iommufd(syscalls: Syscalls): Strategy {
  return new IommufdStrategy(syscalls, "iommufd", (_, ioas) => ({
    attach: async (device) => {
      try {
        return await device.attach(ioas);
      } catch (error) {
        throw withWayOut(error, WAY_OUT);
      }
    },
  }));
}

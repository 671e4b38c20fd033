import type { Struct } from "./codec.js";

/** What an ioctl's third argument is: an integer, nothing, a NUL-terminated string, or a pointer to this struct. */
export type IoctlArgumentKind = "value" | "none" | "string" | Struct;

/** One ioctl of Linux's headers. */
export interface Ioctl {
  /** Its macro's name, `VFIO_IOMMU_MAP_DMA`. */
  readonly name: string;
  /** The number that crosses to the kernel. */
  readonly request: number;
  readonly argument: IoctlArgumentKind;
}

/**
 * VFIO and iommufd share type `;` and encode neither size nor direction: `_IO(';', n)` (include/uapi/linux/vfio.h, VFIO_TYPE;
 * include/uapi/linux/iommufd.h, IOMMUFD_TYPE). So the same number means different calls on different descriptors.
 */
export function ioctl(name: string, n: number, argument: IoctlArgumentKind): Ioctl {
  return { name, request: (0x3b << 8) | n, argument };
}

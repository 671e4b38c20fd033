import type { CapabilityTable } from "./capability.js";
import type { Struct } from "./codec.js";
import type { NameSet } from "./flags.js";

/** What an ioctl's third argument is: an integer, nothing, a NUL-terminated string, or a pointer to this struct. */
export type IoctlArgumentKind = "value" | "none" | "string" | Struct;

/** One ioctl of Linux's headers. */
export interface Ioctl {
  /** Its macro's name, `VFIO_IOMMU_MAP_DMA`. */
  readonly name: string;
  /** The number that crosses to the kernel. */
  readonly request: number;
  readonly argument: IoctlArgumentKind;
  /** Names of the values, where the argument is an integer. */
  readonly values?: NameSet;
  /** What the chain may hold that the struct's `cap_offset` leads to. */
  readonly capabilities?: CapabilityTable;
}

/**
 * VFIO and iommufd share type `;` and encode neither size nor direction: `_IO(';', n)` (include/uapi/linux/vfio.h, VFIO_TYPE;
 * include/uapi/linux/iommufd.h, IOMMUFD_TYPE). So the same number means different calls on different descriptors.
 */
export function ioctl(
  name: string,
  n: number,
  argument: IoctlArgumentKind,
  about: Pick<Ioctl, "values" | "capabilities"> = {},
): Ioctl {
  return { name, request: (0x3b << 8) | n, argument, ...about };
}

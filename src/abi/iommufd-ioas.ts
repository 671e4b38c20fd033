import { struct } from "./codec.js";
import { argsz, fd, u16, u32, u64 } from "./fields.js";
import { flags, names, oneOf } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** `struct iommu_ioas_alloc` (include/uapi/linux/iommufd.h). */
export const ioasAlloc = struct("iommu_ioas_alloc", { size: argsz, flags: u32, out_ioas_id: u32 });

/** `struct iommu_iova_range` (include/uapi/linux/iommufd.h); `last` is inside. */
export const ioasIovaRange = struct("iommu_iova_range", { start: u64, last: u64 });

/**
 * `struct iommu_ioas_iova_ranges` (include/uapi/linux/iommufd.h). `allowed_iovas` points to room for `num_iovas`
 * {@link ioasIovaRange}s; when it is too little, the kernel says EMSGSIZE and writes the number there are.
 */
export const ioasIovaRanges = struct("iommu_ioas_iova_ranges", {
  size: argsz,
  ioas_id: u32,
  num_iovas: u32,
  __reserved: u32,
  allowed_iovas: u64,
  out_iova_alignment: u64,
});

/** `struct iommu_ioas_allow_iovas` (include/uapi/linux/iommufd.h). `allowed_iovas` points to `num_iovas` {@link ioasIovaRange}s. */
export const ioasAllowIovas = struct("iommu_ioas_allow_iovas", {
  size: argsz,
  ioas_id: u32,
  num_iovas: u32,
  __reserved: u32,
  allowed_iovas: u64,
});

/** Flags of mapping calls (include/uapi/linux/iommufd.h). Without FIXED_IOVA the kernel chooses the address and writes it back. */
export const IOMMU_IOAS_MAP_FLAG = names("IOMMU_IOAS_MAP_*", {
  FIXED_IOVA: 1 << 0,
  WRITEABLE: 1 << 1,
  READABLE: 1 << 2,
});

/** `struct iommu_ioas_map` (include/uapi/linux/iommufd.h). */
export const ioasMap = struct("iommu_ioas_map", {
  size: argsz,
  flags: flags(IOMMU_IOAS_MAP_FLAG),
  ioas_id: u32,
  __reserved: u32,
  user_va: u64,
  length: u64,
  iova: u64,
});

/** `struct iommu_ioas_map_file` (include/uapi/linux/iommufd.h). */
export const ioasMapFile = struct("iommu_ioas_map_file", {
  size: argsz,
  flags: flags(IOMMU_IOAS_MAP_FLAG),
  ioas_id: u32,
  fd,
  start: u64,
  length: u64,
  iova: u64,
});

/** `struct iommu_ioas_copy` (include/uapi/linux/iommufd.h). */
export const ioasCopy = struct("iommu_ioas_copy", {
  size: argsz,
  flags: flags(IOMMU_IOAS_MAP_FLAG),
  dst_ioas_id: u32,
  src_ioas_id: u32,
  length: u64,
  dst_iova: u64,
  src_iova: u64,
});

/** `struct iommu_ioas_unmap` (include/uapi/linux/iommufd.h). The kernel writes back in `length` how much it unmapped. */
export const ioasUnmap = struct("iommu_ioas_unmap", { size: argsz, ioas_id: u32, iova: u64, length: u64 });

/** `struct iommu_ioas_change_process` (include/uapi/linux/iommufd.h). */
export const ioasChangeProcess = struct("iommu_ioas_change_process", { size: argsz, __reserved: u32 });

/** `struct iommu_ioas_noiommu_get_pa` (include/uapi/linux/iommufd.h). */
export const ioasNoiommuGetPa = struct("iommu_ioas_noiommu_get_pa", {
  size: argsz,
  flags: u32,
  ioas_id: u32,
  __reserved: u32,
  iova: u64,
  length: u64,
  out_phys: u64,
});

/** What to do with the address space behind the VFIO container calls of an iommufd (include/uapi/linux/iommufd.h). */
export const IOMMU_VFIO_IOAS_OP = names("IOMMU_VFIO_IOAS_*", { GET: 0, SET: 1, CLEAR: 2 });

/** `struct iommu_vfio_ioas` (include/uapi/linux/iommufd.h). */
export const vfioIoas = struct("iommu_vfio_ioas", {
  size: argsz,
  ioas_id: u32,
  op: oneOf(IOMMU_VFIO_IOAS_OP, u16),
  __reserved: u16,
});

/** Makes an empty I/O address space (include/uapi/linux/iommufd.h). */
export const IOMMU_IOAS_ALLOC: Ioctl = ioctl("IOMMU_IOAS_ALLOC", 0x81, ioasAlloc);

/** Sets where the kernel may choose addresses, and keeps reserved ranges out of there (include/uapi/linux/iommufd.h). */
export const IOMMU_IOAS_ALLOW_IOVAS: Ioctl = ioctl("IOMMU_IOAS_ALLOW_IOVAS", 0x82, ioasAllowIovas);

/** Maps what another address space, or another part of the same, has mapped, without pinning it again (include/uapi/linux/iommufd.h). */
export const IOMMU_IOAS_COPY: Ioctl = ioctl("IOMMU_IOAS_COPY", 0x83, ioasCopy);

/** Asks which addresses can be mapped, and their alignment (include/uapi/linux/iommufd.h). */
export const IOMMU_IOAS_IOVA_RANGES: Ioctl = ioctl("IOMMU_IOAS_IOVA_RANGES", 0x84, ioasIovaRanges);

/** Maps process memory for all devices attached (include/uapi/linux/iommufd.h). */
export const IOMMU_IOAS_MAP: Ioctl = ioctl("IOMMU_IOAS_MAP", 0x85, ioasMap);

/** Unmaps a range that covers whole mappings (include/uapi/linux/iommufd.h). */
export const IOMMU_IOAS_UNMAP: Ioctl = ioctl("IOMMU_IOAS_UNMAP", 0x86, ioasUnmap);

/** Reads, sets or clears the address space behind the VFIO container calls (include/uapi/linux/iommufd.h). */
export const IOMMU_VFIO_IOAS: Ioctl = ioctl("IOMMU_VFIO_IOAS", 0x88, vfioIoas);

/** Maps memory of a memfd for all devices attached (include/uapi/linux/iommufd.h). */
export const IOMMU_IOAS_MAP_FILE: Ioctl = ioctl("IOMMU_IOAS_MAP_FILE", 0x8f, ioasMapFile);

/** Moves the charge for mapped files to the calling process (include/uapi/linux/iommufd.h). */
export const IOMMU_IOAS_CHANGE_PROCESS: Ioctl = ioctl("IOMMU_IOAS_CHANGE_PROCESS", 0x92, ioasChangeProcess);

/** Asks for the physical address behind an address, for devices without an IOMMU (include/uapi/linux/iommufd.h). */
export const IOMMU_IOAS_NOIOMMU_GET_PA: Ioctl = ioctl("IOMMU_IOAS_NOIOMMU_GET_PA", 0x95, ioasNoiommuGetPa);

import { struct } from "./codec.js";
import { argsz, fd, u32, u64 } from "./fields.js";
import { flags, names } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** Flags of {@link bindIommufd} (include/uapi/linux/vfio.h). TOKEN: `token_uuid_ptr` points to 16 bytes. */
export const VFIO_DEVICE_BIND_FLAG = names("VFIO_DEVICE_BIND_FLAG_*", { TOKEN: 1 << 0 });

/**
 * `struct vfio_device_bind_iommufd` (include/uapi/linux/vfio.h). Older kernels end it at `out_devid` and do
 * not know the flag.
 */
export const bindIommufd = struct("vfio_device_bind_iommufd", {
  argsz,
  flags: flags(VFIO_DEVICE_BIND_FLAG),
  iommufd: fd,
  out_devid: u32,
  token_uuid_ptr: u64,
});

/** Flags of {@link attachIommufdPt} (include/uapi/linux/vfio.h). PASID: `pasid` means something. */
export const VFIO_DEVICE_ATTACH = names("VFIO_DEVICE_ATTACH_*", { PASID: 1 << 0 });

/**
 * `struct vfio_device_attach_iommufd_pt` (include/uapi/linux/vfio.h). `pt_id` is an IOAS or a page table; given an IOAS
 * the kernel writes back the page table it chose.
 */
export const attachIommufdPt = struct("vfio_device_attach_iommufd_pt", {
  argsz,
  flags: flags(VFIO_DEVICE_ATTACH),
  pt_id: u32,
  pasid: u32,
});

/** Flags of {@link detachIommufdPt} (include/uapi/linux/vfio.h). PASID: `pasid` means something. */
export const VFIO_DEVICE_DETACH = names("VFIO_DEVICE_DETACH_*", { PASID: 1 << 0 });

/** `struct vfio_device_detach_iommufd_pt` (include/uapi/linux/vfio.h). */
export const detachIommufdPt = struct("vfio_device_detach_iommufd_pt", {
  argsz,
  flags: flags(VFIO_DEVICE_DETACH),
  pasid: u32,
});

/** Claims a device opened through its character device for an iommufd (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_BIND_IOMMUFD: Ioctl = ioctl("VFIO_DEVICE_BIND_IOMMUFD", 0x76, bindIommufd);

/** Attaches a bound device to an address space, or moves it to another (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_ATTACH_IOMMUFD_PT: Ioctl = ioctl("VFIO_DEVICE_ATTACH_IOMMUFD_PT", 0x77, attachIommufdPt);

/** Detaches a device; its DMA is blocked from then on (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_DETACH_IOMMUFD_PT: Ioctl = ioctl("VFIO_DEVICE_DETACH_IOMMUFD_PT", 0x78, detachIommufdPt);

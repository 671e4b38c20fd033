import { struct } from "./codec.js";
import { argsz, fd, u32, u64 } from "./fields.js";
import { flags, names } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** Flags of {@link ioeventfd}: the width of the write in bits (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_IOEVENTFD_WIDTH = names("VFIO_DEVICE_IOEVENTFD_*", {
  "8": 1 << 0,
  "16": 1 << 1,
  "32": 1 << 2,
  "64": 1 << 3,
});

/** `struct vfio_device_ioeventfd` (include/uapi/linux/vfio.h): write `data` at `offset` of the device when `fd` is signalled. */
export const ioeventfd = struct("vfio_device_ioeventfd", {
  argsz,
  flags: flags(VFIO_DEVICE_IOEVENTFD_WIDTH),
  offset: u64,
  data: u64,
  fd,
  reserved: u32,
});

/** Has the kernel write to a device when an eventfd is signalled (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_IOEVENTFD: Ioctl = ioctl("VFIO_DEVICE_IOEVENTFD", 0x74, ioeventfd);

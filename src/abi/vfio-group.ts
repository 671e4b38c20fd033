import { struct } from "./codec.js";
import { argsz, fd } from "./fields.js";
import { flags, names } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** State of an IOMMU group (include/uapi/linux/vfio.h). Viable: every device of the group is with VFIO or without a driver. */
export const VFIO_GROUP_FLAGS = names("VFIO_GROUP_FLAGS_*", { VIABLE: 1 << 0, CONTAINER_SET: 1 << 1 });

/** `struct vfio_group_status` (include/uapi/linux/vfio.h). */
export const groupStatus = struct("vfio_group_status", { argsz, flags: flags(VFIO_GROUP_FLAGS) });

/** What VFIO_GROUP_SET_CONTAINER points to: a bare `__s32`, which the header gives no name. */
export const containerFd = struct("iospan_container_fd", { fd });

/** Asks for a group's {@link groupStatus} (include/uapi/linux/vfio.h). */
export const VFIO_GROUP_GET_STATUS: Ioctl = ioctl("VFIO_GROUP_GET_STATUS", 0x67, groupStatus);

/** Puts a group into a container, by descriptor (include/uapi/linux/vfio.h). */
export const VFIO_GROUP_SET_CONTAINER: Ioctl = ioctl("VFIO_GROUP_SET_CONTAINER", 0x68, containerFd);

/** Takes a group out of its container (include/uapi/linux/vfio.h). */
export const VFIO_GROUP_UNSET_CONTAINER: Ioctl = ioctl("VFIO_GROUP_UNSET_CONTAINER", 0x69, "none");

/** Opens a device of the group, by its kernel name; answers the descriptor (include/uapi/linux/vfio.h). */
export const VFIO_GROUP_GET_DEVICE_FD: Ioctl = ioctl("VFIO_GROUP_GET_DEVICE_FD", 0x6a, "string");

import { struct } from "./codec.js";
import { argsz, fd, s32, u8, u16, u32 } from "./fields.js";
import { flags, names } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** Flags of {@link hotResetInfo} (include/uapi/linux/vfio.h): set for devices opened through a character device of their own. */
export const VFIO_PCI_HOT_RESET_FLAG = names("VFIO_PCI_HOT_RESET_FLAG_*", { DEV_ID: 1 << 0, DEV_ID_OWNED: 1 << 1 });

/** `struct vfio_pci_dependent_device` (include/uapi/linux/vfio.h) without the DEV_ID flag: a device with its group. */
export const dependentDevice = struct("vfio_pci_dependent_device", { group_id: u32, segment: u16, bus: u8, devfn: u8 });

/**
 * `struct vfio_pci_dependent_device` (include/uapi/linux/vfio.h) with the DEV_ID flag: a device with its iommufd id
 * or a {@link VFIO_PCI_DEVID}. Signed, unlike the header's field, because one of those is -1.
 */
export const dependentDeviceById = struct("vfio_pci_dependent_device", {
  devid: s32,
  segment: u16,
  bus: u8,
  devfn: u8,
});

/** What stands for an id in {@link dependentDeviceById} (include/uapi/linux/vfio.h): in the caller's iommufd without an id, or not there. */
export const VFIO_PCI_DEVID = names("VFIO_PCI_DEVID_*", { OWNED: 0, NOT_OWNED: -1 });

/** `struct vfio_pci_hot_reset_info` (include/uapi/linux/vfio.h); `count` devices follow that the reset would hit. */
export const hotResetInfo = struct(
  "vfio_pci_hot_reset_info",
  {
    argsz,
    flags: flags(VFIO_PCI_HOT_RESET_FLAG),
    count: u32,
  },
  {
    name: "devices",
    element: dependentDevice,
    follows: ({ flags, count }) => ({
      element: flags & VFIO_PCI_HOT_RESET_FLAG.DEV_ID ? dependentDeviceById : dependentDevice,
      count,
    }),
  },
);

/** `struct vfio_pci_hot_reset` (include/uapi/linux/vfio.h); `count` `__s32` group descriptors follow. */
export const hotReset = struct(
  "vfio_pci_hot_reset",
  { argsz, flags: u32, count: u32 },
  { name: "group_fds", element: fd, follows: ({ count }) => ({ element: fd, count }) },
);

/** Asks which devices a hot reset would hit; ENOSPC when the buffer is too small for them (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: Ioctl = ioctl(
  "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO",
  0x70,
  hotResetInfo,
);

/** Resets the bus or slot, given proof of owning everything on it (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_PCI_HOT_RESET: Ioctl = ioctl("VFIO_DEVICE_PCI_HOT_RESET", 0x71, hotReset);

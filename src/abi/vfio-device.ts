import { type Capability, capabilityHeader, expectCapability } from "./capability.js";
import { struct } from "./codec.js";
import { argsz, u32 } from "./fields.js";
import { flags, names } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** Flags of {@link deviceInfo} (include/uapi/linux/vfio.h): what the device can, and which bus driver answers. */
export const VFIO_DEVICE_FLAGS = names("VFIO_DEVICE_FLAGS_*", {
  RESET: 1 << 0,
  PCI: 1 << 1,
  PLATFORM: 1 << 2,
  AMBA: 1 << 3,
  CCW: 1 << 4,
  AP: 1 << 5,
  FSL_MC: 1 << 6,
  CAPS: 1 << 7,
  CDX: 1 << 8,
});

/** `struct vfio_device_info` (include/uapi/linux/vfio.h). `num_regions` and `num_irqs` are one more than the last index. */
export const deviceInfo = struct("vfio_device_info", {
  argsz,
  flags: flags(VFIO_DEVICE_FLAGS),
  num_regions: u32,
  num_irqs: u32,
  cap_offset: u32,
  pad: u32,
});

/** The capabilities behind {@link deviceInfo} (include/uapi/linux/vfio.h). The ZPCI ones are s390's, laid out in vfio_zdev.h. */
export const VFIO_DEVICE_INFO_CAP = names("VFIO_DEVICE_INFO_CAP_*", {
  ZPCI_BASE: 1,
  ZPCI_GROUP: 2,
  ZPCI_UTIL: 3,
  ZPCI_PFIP: 4,
  PCI_ATOMIC_COMP: 5,
});

/** Widths of PCI atomic operations that reach memory (include/uapi/linux/vfio.h). */
export const VFIO_PCI_ATOMIC = names("VFIO_PCI_ATOMIC_*", { COMP32: 1 << 0, COMP64: 1 << 1, COMP128: 1 << 2 });

/** `struct vfio_device_info_cap_pci_atomic_comp` (include/uapi/linux/vfio.h). */
export const atomicCapability = struct("vfio_device_info_cap_pci_atomic_comp", {
  header: capabilityHeader,
  flags: flags(VFIO_PCI_ATOMIC),
  reserved: u32,
});

/** Asks a device for its {@link deviceInfo} (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_GET_INFO: Ioctl = ioctl("VFIO_DEVICE_GET_INFO", 0x6b, deviceInfo, {
  capabilities: {
    ids: VFIO_DEVICE_INFO_CAP,
    layouts: { [VFIO_DEVICE_INFO_CAP.PCI_ATOMIC_COMP]: atomicCapability },
  },
});

/** Resets a device that has {@link VFIO_DEVICE_FLAGS}.RESET (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_RESET: Ioctl = ioctl("VFIO_DEVICE_RESET", 0x6f, "none");

/** The {@link VFIO_PCI_ATOMIC} bits of PCI_ATOMIC_COMP. */
export function atomicCompletions(capability: Capability): number {
  expectCapability(capability, VFIO_DEVICE_INFO_CAP.PCI_ATOMIC_COMP, 1);
  return atomicCapability.decode(capability.bytes).flags;
}

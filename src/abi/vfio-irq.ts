import { type Following, struct } from "./codec.js";
import { argsz, fd, u8, u32 } from "./fields.js";
import { flags, names } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** The interrupts of a PCI device (include/uapi/linux/vfio.h). ERR is an AER error, REQ the kernel asking for the device back. */
export const VFIO_PCI_IRQ_INDEX = names("VFIO_PCI_*_IRQ_INDEX", { INTX: 0, MSI: 1, MSIX: 2, ERR: 3, REQ: 4 });

/** How many interrupt indexes vfio-pci numbers itself (include/uapi/linux/vfio.h). */
export const VFIO_PCI_NUM_IRQS = 5;

/** Flags of {@link irqInfo} (include/uapi/linux/vfio.h). AUTOMASKED: the kernel masks a level interrupt each time it fires. */
export const VFIO_IRQ_INFO = names("VFIO_IRQ_INFO_*", {
  EVENTFD: 1 << 0,
  MASKABLE: 1 << 1,
  AUTOMASKED: 1 << 2,
  NORESIZE: 1 << 3,
});

/** `struct vfio_irq_info` (include/uapi/linux/vfio.h). */
export const irqInfo = struct("vfio_irq_info", { argsz, flags: flags(VFIO_IRQ_INFO), index: u32, count: u32 });

/** Flags of {@link irqSet}: one DATA, saying what follows, and one ACTION (include/uapi/linux/vfio.h). */
export const VFIO_IRQ_SET = names("VFIO_IRQ_SET_*", {
  DATA_NONE: 1 << 0,
  DATA_BOOL: 1 << 1,
  DATA_EVENTFD: 1 << 2,
  ACTION_MASK: 1 << 3,
  ACTION_UNMASK: 1 << 4,
  ACTION_TRIGGER: 1 << 5,
});

/** `struct vfio_irq_set` (include/uapi/linux/vfio.h). `count` bytes (DATA_BOOL) or `__s32` descriptors (DATA_EVENTFD) follow. */
export const irqSet = struct(
  "vfio_irq_set",
  {
    argsz,
    flags: flags(VFIO_IRQ_SET),
    index: u32,
    start: u32,
    count: u32,
  },
  { name: "data", element: u8, follows: ({ flags, count }) => irqData(flags, count) },
);

function irqData(flags: number, count: number): Following | undefined {
  if ((flags & VFIO_IRQ_SET.DATA_EVENTFD) !== 0) return { element: fd, count };
  return (flags & VFIO_IRQ_SET.DATA_BOOL) !== 0 ? { element: u8, count } : undefined;
}

/** Asks a device about the interrupts of an `index` (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_GET_IRQ_INFO: Ioctl = ioctl("VFIO_DEVICE_GET_IRQ_INFO", 0x6d, irqInfo);

/** Wires, masks, unmasks or triggers interrupts (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_SET_IRQS: Ioctl = ioctl("VFIO_DEVICE_SET_IRQS", 0x6e, irqSet);

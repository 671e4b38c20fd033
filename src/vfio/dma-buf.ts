import { errno } from "../abi/errno.js";
import {
  deviceFeature,
  dmaBuf,
  regionDmaRange,
  VFIO_DEVICE_FEATURE,
  VFIO_DEVICE_FEATURE_INDEX,
  VFIO_DEVICE_FEATURE_OPERATION,
} from "../abi/vfio-feature.js";
import { hex } from "../iova.js";
import { O_RDWR } from "../syscalls/mmap-flags.js";
import { type Fd, SyscallError } from "../syscalls/syscalls.js";
import { type Meaning, refusal } from "./refusal.js";
import type { RegionHandle } from "./region.js";

const { GET, PROBE } = VFIO_DEVICE_FEATURE_OPERATION;
const { DMA_BUF } = VFIO_DEVICE_FEATURE_INDEX;

/** The same on every architecture that has VFIO (include/uapi/asm-generic/fcntl.h). */
const O_CLOEXEC = 0o2000000;

/** A part of a region, in bytes from its start. */
export interface RegionPart {
  readonly offset: number;
  readonly size: number;
}

/**
 * Whether the kernel gives parts of a region's device as dma-bufs, asked without making one: a PCI device on vfio-pci, on
 * Linux 6.19 or newer with CONFIG_VFIO_PCI_DMABUF (drivers/vfio/pci/vfio_pci_priv.h answers ENOTTY without).
 * @throws IospanError where the kernel does not say.
 */
export function exportsDmaBufs({ syscalls, fd, device, iommu }: RegionHandle): boolean {
  try {
    syscalls.ioctl(fd, VFIO_DEVICE_FEATURE, deviceFeature.encode({ flags: GET | PROBE | DMA_BUF }));
    return true;
  } catch (error) {
    const refused = error instanceof SyscallError ? error.errno : undefined;
    // EINVAL: kernels that know no features of vfio-platform's devices, EOPNOTSUPP: variant drivers without.
    if (refused === errno.ENOTTY || refused === errno.EINVAL || refused === errno.EOPNOTSUPP) return false;
    throw refusal(
      error,
      { device, iommu },
      {
        code: "ERR_IOSPAN_SYSCALL",
        message: `the kernel does not say whether ${device} gives its registers as a dma-buf`,
        hint: "the kernel log may say more: dmesg | grep vfio",
      },
    );
  }
}

/**
 * A part of a BAR as a dma-buf, which an iommufd maps for other devices. It does not keep the device open: the kernel takes
 * the registers back when the device is closed, reset, or told not to decode memory (drivers/vfio/pci/vfio_pci_dmabuf.c,
 * vfio_pci_dma_buf_move).
 * @param part whole pages, inside the BAR
 * @returns a descriptor, which the caller closes
 * @throws IospanError `ERR_IOSPAN_REGION_ACCESS` for what the kernel cannot give, `ERR_IOSPAN_SYSCALL` else.
 */
export function exportDmaBuf(handle: RegionHandle, { offset, size }: RegionPart): Fd {
  const { syscalls, fd, device, iommu, region } = handle;
  const range = regionDmaRange.encode({ offset: BigInt(offset), length: BigInt(size) });
  const request = dmaBuf.encode({ region_index: region.index, open_flags: O_RDWR | O_CLOEXEC, nr_ranges: 1 }, range);
  const what = `${hex(size)} bytes at ${hex(offset)} of ${region.name} of ${device}`;
  const notGiven: Meaning = {
    code: "ERR_IOSPAN_REGION_ACCESS",
    message: `the kernel does not give ${what} as a dma-buf`,
    hint: "only whole pages of a PCI device's memory BARs can be given (drivers/vfio/pci/vfio_pci_dmabuf.c)",
  };
  try {
    return syscalls.ioctl(fd, VFIO_DEVICE_FEATURE, deviceFeature.encode({ flags: GET | DMA_BUF }, request)) as Fd;
  } catch (error) {
    throw refusal(
      error,
      { device, iommu },
      {
        code: "ERR_IOSPAN_SYSCALL",
        message: `the kernel does not give ${what} as a dma-buf`,
        hint: "the kernel log may say more: dmesg | grep vfio",
      },
      { [errno.EINVAL]: notGiven, [errno.ENODEV]: notGiven, [errno.EOPNOTSUPP]: notGiven },
    );
  }
}

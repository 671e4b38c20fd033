import { errno } from "../abi/errno.js";
import { hotReset, VFIO_DEVICE_PCI_HOT_RESET } from "../abi/vfio-pci-reset.js";
import { IospanError } from "../errors.js";
import type { Fd, Syscalls } from "../syscalls/syscalls.js";
import { openGroups } from "./group.js";
import type { HotResetScope } from "./hot-reset-scope.js";
import { type About, type Meaning, refusal } from "./refusal.js";

/**
 * Resets the slot or bus of a PCI device (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_ioctl_pci_hot_reset). The groups of all
 * that it hits prove that they are the caller's; a device that is bound to an iommufd takes no such proof, the iommufd is it.
 * @throws IospanError `ERR_IOSPAN_RESET_REFUSED`.
 */
export async function resetSlotOrBus(syscalls: Syscalls, fd: Fd, scope: HotResetScope, about: About): Promise<void> {
  const groups = openGroups.of(syscalls);
  const fds = new Set(scope.devices.flatMap(({ group }) => (group === undefined ? [] : (groups.get(group) ?? []))));
  const data = new Uint8Array(Int32Array.from(fds).buffer);
  try {
    await syscalls.ioctlAsync(fd, VFIO_DEVICE_PCI_HOT_RESET, hotReset.encode({ flags: 0, count: fds.size }, data));
  } catch (error) {
    throw hotResetRefused(error, about);
  }
}

/** A hot reset that the kernel would refuse; it is not asked. */
export function hotResetImpossible({ devices, reason }: HotResetScope, about: About): IospanError {
  const missing = devices.filter(({ owned }) => !owned).map(({ name }) => name);
  return new IospanError(
    missing.length > 0 ? "ERR_IOSPAN_RESET_REFUSED" : "ERR_IOSPAN_NOT_SUPPORTED",
    `${about.device} cannot be hot reset: ${reason}`,
    {
      ...about,
      hint:
        missing.length > 0
          ? `bind ${missing.join(", ")} to vfio-pci and attach it to the space, or reset the device alone: device.reset()`
          : "device.hotResetScope() says so beforehand; device.reset() may work",
    },
  );
}

function hotResetRefused(error: unknown, about: About): unknown {
  const message = `${about.device} was not hot reset`;
  const refused = (hint: string, why = ""): Meaning => ({
    code: "ERR_IOSPAN_RESET_REFUSED",
    message: `${message}${why}`,
    hint,
  });
  return refusal(error, about, refused("the kernel log says more: dmesg | grep -e vfio -e pci"), {
    [errno.EINVAL]: refused(
      "ask device.hotResetScope() again: a device may have come, or gone to another driver or process, in the meantime",
      ": not all that it hits is on vfio-pci and the caller's",
    ),
    [errno.EBUSY]: refused("try again: registers of one of its devices are being accessed", ": a device is in use"),
    [errno.EAGAIN]: refused("try again: the kernel is at work on one of its devices", ": a device is locked"),
  });
}

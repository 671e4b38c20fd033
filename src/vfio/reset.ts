import { errno } from "../abi/errno.js";
import { VFIO_DEVICE_RESET } from "../abi/vfio-device.js";
import { IospanError } from "../errors.js";
import type { Fd, Syscalls } from "../syscalls/syscalls.js";
import { type About, type Meaning, refusal } from "./refusal.js";

/**
 * VFIO_DEVICE_RESET: the device alone.
 * @throws IospanError `ERR_IOSPAN_RESET_REFUSED`.
 */
export async function resetDevice(syscalls: Syscalls, fd: Fd, about: About): Promise<void> {
  const refused: Meaning = {
    code: "ERR_IOSPAN_RESET_REFUSED",
    message: `${about.device} was not reset`,
    hint: "the kernel log says more: dmesg | grep -e vfio -e pci",
  };
  try {
    await syscalls.ioctlAsync(fd, VFIO_DEVICE_RESET, 0);
  } catch (error) {
    throw refusal(error, about, refused, { [errno.EAGAIN]: busyElsewhere(refused) });
  }
}

/** pci_try_reset_function does not wait for the device's lock. */
function busyElsewhere({ code, message }: Meaning): Meaning {
  return {
    code,
    message: `${message}: somebody is resetting it, or taking it from its driver`,
    hint: "try again; while the kernel asks for it back (device.removal), only closing it helps",
  };
}

/** A device that the kernel says it cannot reset. */
export function notResettable(about: About): IospanError {
  return new IospanError("ERR_IOSPAN_NOT_SUPPORTED", `${about.device} cannot be reset`, {
    ...about,
    hint: "the kernel knows no reset for it: use a register of the device, if it has one",
  });
}

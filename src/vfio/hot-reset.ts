import { errno } from "../abi/errno.js";
import { hotReset, VFIO_DEVICE_PCI_HOT_RESET } from "../abi/vfio-pci-reset.js";
import { IospanError } from "../errors.js";
import type { Fd, Syscalls } from "../syscalls/syscalls.js";
import type { Device } from "./device.js";
import { failuresOf, withFailures } from "./failures.js";
import { type OpenGroup, openGroups } from "./group.js";
import type { HotResetScope } from "./hot-reset-scope.js";
import { type About, type Meaning, refusal } from "./refusal.js";

/**
 * Resets the slot or bus of a PCI device (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_ioctl_pci_hot_reset). The groups of all
 * that it hits prove that they are the caller's; a device that is bound to an iommufd takes no such proof, the iommufd is it.
 * @throws IospanError `ERR_IOSPAN_RESET_REFUSED`.
 */
export async function resetSlotOrBus(syscalls: Syscalls, fd: Fd, scope: HotResetScope, about: About): Promise<void> {
  const open = openGroups.of(syscalls);
  const numbers = new Set(scope.devices.map(({ group }) => group));
  const groups = [...numbers].flatMap((group) => (group === undefined ? [] : (open.get(group) ?? [])));
  const data = new Uint8Array(Int32Array.from(groups, (group) => group.fd).buffer);
  const argument = hotReset.encode({ flags: 0, count: groups.length }, data);
  try {
    await keepingOpen(groups, () => syscalls.ioctlAsync(fd, VFIO_DEVICE_PCI_HOT_RESET, argument));
  } catch (error) {
    throw hotResetRefused(error, about);
  }
}

/** A call that none of the groups is closed before the end of. */
function keepingOpen<T>(groups: readonly OpenGroup[], call: () => Promise<T>): Promise<T> {
  return groups.reduce<() => Promise<T>>(
    (inner, { calls }) =>
      () =>
        calls.run(inner),
    call,
  )();
}

/**
 * Runs `operation` while none of the devices masters the bus; those that did may again afterwards, however it ended.
 * @throws what `operation` throws, with what went wrong on the way back; else the first of that.
 */
export async function withoutDma(devices: readonly Device[], operation: () => Promise<void>): Promise<void> {
  const mastering = devices.filter(({ pciConfig }) => pciConfig?.busMaster === true);
  const lets = (device: Device, master: boolean) => () => device.pciConfig?.setBusMaster(master);
  try {
    for (const device of mastering) lets(device, false)();
    await operation();
  } catch (error) {
    throw withFailures(error, masterAgain());
  }
  const [failure] = masterAgain();
  if (failure !== undefined) throw failure;

  function masterAgain(): readonly unknown[] {
    // One that is being closed meanwhile stays as its closing left it.
    const back = mastering.filter(({ closed, silenced }) => !closed && !silenced);
    return failuresOf(...back.map((device) => lets(device, true)));
  }
}

/** A hot reset that the kernel would refuse; it is not asked. */
export function hotResetImpossible({ devices, reason, hint }: HotResetScope, about: About): IospanError {
  const code = devices.length > 0 ? "ERR_IOSPAN_RESET_REFUSED" : "ERR_IOSPAN_NOT_SUPPORTED";
  return new IospanError(code, `${about.device} cannot be hot reset: ${reason}`, { ...about, hint });
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

import { errno } from "../abi/errno.js";
import { IospanError } from "../errors.js";
import { type About, type Meaning, nodeRefusal, refusal } from "../vfio/refusal.js";

/** What a kernel has to be to have what this room needs. */
export const needsIommufdHint: string =
  "it takes Linux 6.6 or newer, built with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV (modprobe iommufd); without, use the " +
  'strategies "shared-container" and "mirrored", which need neither';

/** Why `/dev/iommu` could not be opened. */
export function iommufdOpenRefused(error: unknown, path: string, about: About): unknown {
  const missing: Meaning = {
    code: "ERR_IOSPAN_NO_IOMMUFD",
    message: `${path} is not there: the kernel has no iommufd`,
    hint: needsIommufdHint,
  };
  return nodeRefusal(error, about, {
    path,
    missing,
    forbiddenHint: `give yourself the node: chown $USER ${path} (or a udev rule: KERNEL=="iommu", OWNER="…")`,
    logged: "iommufd",
  });
}

/** Why IOMMU_OPTION_RLIMIT_MODE was refused (drivers/iommu/iommufd/ioas.c, iommufd_option_rlimit_mode). */
export function limitModeRefused(error: unknown, about: About): unknown {
  const message = "whom pinned memory is charged to cannot be changed";
  return refusal(
    error,
    about,
    { code: "ERR_IOSPAN_SYSCALL", message, hint: "the kernel log may say more: dmesg | grep iommufd" },
    {
      [errno.EPERM]: {
        code: "ERR_IOSPAN_NO_PERMISSION",
        message: `${message} without CAP_SYS_RESOURCE`,
        hint: "run as root, or give the program the capability: setcap cap_sys_resource+ep",
      },
      [errno.EBUSY]: {
        code: "ERR_IOSPAN_BUSY",
        message: `${message} any more: the iommufd has address spaces or devices`,
        hint: "set it right after opening the iommufd",
      },
    },
  );
}

/** Something is used after its end. */
export function closedIommufd(what: string): IospanError {
  return new IospanError("ERR_IOSPAN_CLOSED", `${what} is closed`, { hint: "open a new one" });
}

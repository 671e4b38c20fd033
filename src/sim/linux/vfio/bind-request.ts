import { bindIommufd, VFIO_DEVICE_BIND_FLAG } from "../../../abi/vfio-cdev.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { userBytes } from "../files/user-argument.js";
import { copyIn, sizeOf } from "../iommufd/ioctl-table.js";
import { refuse } from "../refusal.js";

/**
 * What VFIO_DEVICE_BIND_IOMMUFD asks for, as far as that is checked whatever the descriptor is. Although the struct has a
 * token behind them, more than the first 16 bytes have to be zero.
 */
export function readBind(argument: IoctlArgument): { readonly iommufd: number; readonly flags: number } {
  const bytes = userBytes(argument);
  const size = sizeOf(bytes);
  const least = bindIommufd.endOf("out_devid");
  if (size < least) refuse("EINVAL");
  const { iommufd, flags } = copyIn(bindIommufd, bytes, size, least);
  if (iommufd < 0 || (flags & ~VFIO_DEVICE_BIND_FLAG.TOKEN) !== 0) refuse("EINVAL");
  return { iommufd, flags };
}

import { bindIommufd, VFIO_DEVICE_BIND_FLAG } from "../../../abi/vfio-cdev.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { readStruct, userBytes } from "../files/user-argument.js";
import { copyIn, sizeOf } from "../iommufd/ioctl-table.js";
import type { Profile } from "../profile.js";
import { refuse } from "../refusal.js";

/** What a BIND_IOMMUFD asks for. */
export interface BindRequest {
  readonly iommufd: number;
  /** Where the token is in the process's memory; undefined for none. */
  readonly token: number | undefined;
}

/** What VFIO_DEVICE_BIND_IOMMUFD asks for, as far as that is checked whatever the descriptor is. */
export function readBind(argument: IoctlArgument, { tokenAtBind }: Profile): BindRequest {
  const bytes = userBytes(argument);
  const size = sizeOf(bytes);
  const least = bindIommufd.endOf("out_devid");
  if (size < least) refuse("EINVAL");
  // Before there were tokens the struct was copied up to its end, and what is behind it not looked at.
  const request = tokenAtBind ? copyIn(bindIommufd, bytes, size) : readStruct(bindIommufd, argument, least);
  const { iommufd, flags, token_uuid_ptr } = request;
  const known = tokenAtBind ? VFIO_DEVICE_BIND_FLAG.TOKEN : 0;
  if (iommufd < 0 || (flags & ~known) !== 0) refuse("EINVAL");
  return { iommufd, token: flags === 0 ? undefined : Number(token_uuid_ptr) };
}

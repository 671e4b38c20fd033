import { errno } from "../../abi/errno.js";
import { IospanError } from "../../errors.js";

/** An attach that was refused with EINVAL, with a hint of what other strategy does better; any other error as it is. */
export function withWayOut(error: unknown, hint: string): unknown {
  if (!(error instanceof IospanError) || error.errno !== errno.EINVAL) return error;
  const { code, message, syscall, errno: number, device, iommu, cause } = error;
  return new IospanError(code, message, { syscall, errno: number, device, iommu, cause, hint });
}

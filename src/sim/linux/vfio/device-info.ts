import { deviceInfo } from "../../../abi/vfio-device.js";
import { irqInfo } from "../../../abi/vfio-irq.js";
import { regionInfo } from "../../../abi/vfio-region.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { copyOut, readStruct } from "../files/user-argument.js";
import { refuse } from "../refusal.js";
import { REGION_SHIFT } from "./region-file.js";

/** What a driver says of a device. */
export interface DeviceFacts {
  readonly flags: number;
  readonly num_regions: number;
  readonly num_irqs: number;
}

/**
 * VFIO_DEVICE_GET_INFO.
 * @param reach how much of the struct the driver writes, in a caller's that has room for it
 */
export function tellDevice(argument: IoctlArgument, facts: DeviceFacts, reach: "num_irqs" | "cap_offset"): number {
  const least = deviceInfo.endOf("num_irqs");
  const { argsz } = readStruct(deviceInfo, argument, least);
  if (argsz < least) refuse("EINVAL");
  const info = deviceInfo.encode({ argsz, ...facts });
  copyOut(argument, info.subarray(0, argsz >= deviceInfo.endOf(reach) ? deviceInfo.endOf(reach) : least));
  return 0;
}

/** VFIO_DEVICE_GET_REGION_INFO. @param describe undefined for a region that the driver does not know */
export function tellRegion(
  argument: IoctlArgument,
  describe: (index: number) => { readonly size: number; readonly flags: number } | undefined,
): number {
  const { argsz, index } = readStruct(regionInfo, argument);
  const facts = describe(index);
  if (argsz < regionInfo.size || facts === undefined) return refuse("EINVAL");
  copyOut(argument, regionInfo.encode({ argsz, index, offset: BigInt(index) << REGION_SHIFT, ...facts }));
  return 0;
}

/** VFIO_DEVICE_GET_IRQ_INFO. @param describe undefined for an index that the driver does not know */
export function tellIrq(
  argument: IoctlArgument,
  describe: (index: number) => { readonly flags: number; readonly count: number } | undefined,
): number {
  const { argsz, index } = readStruct(irqInfo, argument);
  const facts = describe(index);
  if (argsz < irqInfo.size || facts === undefined) return refuse("EINVAL");
  copyOut(argument, irqInfo.encode({ argsz, index, ...facts }));
  return 0;
}

import {
  deviceFeature,
  VFIO_DEVICE_FEATURE_INDEX,
  VFIO_DEVICE_FEATURE_MASK,
  VFIO_DEVICE_FEATURE_OPERATION,
  vfToken,
} from "../../../abi/vfio-feature.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { readStruct, userBytes } from "../files/user-argument.js";
import { refuse } from "../refusal.js";
import type { DmaBufs } from "./dma-buf.js";
import { type SriovFunction, uuidText } from "./vf-token.js";

const { GET, SET, PROBE } = VFIO_DEVICE_FEATURE_OPERATION;
const INDEX = VFIO_DEVICE_FEATURE_INDEX;

/** Features that vfio-pci has on every function and that are not simulated. */
const NOT_SIMULATED: readonly number[] = [
  INDEX.LOW_POWER_ENTRY,
  INDEX.LOW_POWER_ENTRY_WITH_WAKEUP,
  INDEX.LOW_POWER_EXIT,
];

/** VFIO_DEVICE_FEATURE (drivers/vfio/vfio_main.c, vfio_ioctl_device_feature; vfio_pci_core.c, vfio_pci_core_ioctl_feature). */
export function feature(argument: IoctlArgument, fn: SriovFunction, dmaBufs: DmaBufs): number {
  const { argsz, flags } = readStruct(deviceFeature, argument);
  if (argsz < deviceFeature.size || (flags & ~(VFIO_DEVICE_FEATURE_MASK | GET | SET | PROBE)) !== 0) refuse("EINVAL");
  if ((flags & PROBE) === 0 && (flags & SET) !== 0 && (flags & GET) !== 0) refuse("EINVAL");
  const index = flags & VFIO_DEVICE_FEATURE_MASK;
  if (NOT_SIMULATED.includes(index)) refuse("ENOSYS", "not simulated");
  if (index === INDEX.DMA_BUF) return dmaBufs.feature(flags, userBytes(argument).subarray(deviceFeature.size, argsz));
  if (index !== INDEX.PCI_VF_TOKEN || fn.isVirtual || fn.token === undefined) return refuse("ENOTTY");
  if (!isToBeSet(flags, argsz - deviceFeature.size)) return 0;
  const bytes = userBytes(argument).subarray(deviceFeature.size, deviceFeature.size + vfToken.size);
  if (bytes.length < vfToken.size) refuse("EFAULT");
  fn.token.uuid = uuidText(bytes);
  return 0;
}

/** vfio_check_feature: a token can be set and probed for, not read. */
function isToBeSet(flags: number, length: number): boolean {
  if ((flags & GET) !== 0) refuse("EINVAL");
  if ((flags & PROBE) !== 0) return false;
  if ((flags & SET) === 0 || length < vfToken.size) refuse("EINVAL");
  return true;
}

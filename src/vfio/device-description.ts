import type { Decoded } from "../abi/codec.js";
import { errno } from "../abi/errno.js";
import { deviceInfo, VFIO_DEVICE_GET_INFO } from "../abi/vfio-device.js";
import { VFIO_PCI_REGION_INDEX } from "../abi/vfio-region.js";
import { malformedAnswer } from "../errors.js";
import { type Fd, SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import type { DeviceIdentity } from "./device.js";
import { refusal } from "./refusal.js";
import { Region, type RegionInfo } from "./region.js";
import { readRegionInfo } from "./region-info.js";

const PCI_REGION_NAMES = new Map<number, string>(
  Object.entries(VFIO_PCI_REGION_INDEX).map(([name, index]) => [index, name.toLowerCase()]),
);

/** Why a device that was opened cannot be used. */
export function tellsNothing(error: unknown, { name, iommu }: DeviceIdentity): unknown {
  return refusal(
    error,
    { device: name, iommu },
    {
      code: "ERR_IOSPAN_SYSCALL",
      message: `${name} does not tell what it has`,
      hint: "the kernel log says more: dmesg | grep vfio",
    },
  );
}

/** What a device says of itself. @throws SyscallError when it does not. */
export function readDeviceInfo(syscalls: Syscalls, fd: Fd): Decoded<typeof deviceInfo> {
  const bytes = deviceInfo.encode();
  syscalls.ioctl(fd, VFIO_DEVICE_GET_INFO, bytes);
  return deviceInfo.decode(bytes);
}

/** More regions than any device has; the kernel would be asked about each. */
const MOST_REGIONS = 256;

/** The regions that a device has, `count` indexes being asked for. @throws IospanError `ERR_IOSPAN_MALFORMED_ANSWER`. */
export function readRegions(syscalls: Syscalls, fd: Fd, identity: DeviceIdentity, count: number): readonly Region[] {
  const { name, bus } = identity;
  if (count > MOST_REGIONS) {
    throw malformedAnswer(`the kernel says that ${name} has ${count} regions`);
  }
  const regions: Region[] = [];
  for (let index = 0; index < count; index += 1) {
    const label = (bus === "pci" ? PCI_REGION_NAMES.get(index) : undefined) ?? `region${index}`;
    const read = () => readRegionInfo(syscalls, fd, index, label);
    const info = bus === "pci" && index === VFIO_PCI_REGION_INDEX.VGA ? tolerant(read) : read();
    if (info !== undefined) regions.push(new Region(syscalls, identity, fd, info));
  }
  return regions;
}

/** vfio-pci counts its VGA index always, and answers EINVAL for it on a device that is no display. */
function tolerant(read: () => RegionInfo | undefined): RegionInfo | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof SyscallError && error.errno === errno.EINVAL) return undefined;
    throw error;
  }
}

import { decodeCapabilities, findCapability } from "../abi/capability.js";
import type { Decoded } from "../abi/codec.js";
import {
  regionInfo,
  sparseAreas,
  VFIO_DEVICE_GET_REGION_INFO,
  VFIO_REGION_INFO_CAP,
  VFIO_REGION_INFO_FLAG,
} from "../abi/vfio-region.js";
import { type IospanError, malformedAnswer } from "../errors.js";
import type { Fd, Syscalls } from "../syscalls/syscalls.js";
import type { MmapArea, RegionInfo } from "./region.js";

/** A chain of capabilities longer than this is no region's. */
const MOST_INFO_BYTES = 2 ** 16;

/**
 * Asks the kernel for the region with this index.
 * @returns undefined for an index the device does not use: it has no bytes, or the driver knows none there (vfio-pci's
 * VGA index on other devices).
 */
export function readRegionInfo(syscalls: Syscalls, fd: Fd, index: number, name: string): RegionInfo | undefined {
  const bytes = query(syscalls, fd, index, regionInfo.size);
  const info = regionInfo.decode(bytes);
  if (info.size === 0n) return undefined;
  if (info.size > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed(name, `${info.size} bytes long`);
  const has = (flag: number) => (info.flags & flag) !== 0;
  return {
    index,
    name,
    size: Number(info.size),
    fileOffset: info.offset,
    readable: has(VFIO_REGION_INFO_FLAG.READ),
    writable: has(VFIO_REGION_INFO_FLAG.WRITE),
    mmapAreas: has(VFIO_REGION_INFO_FLAG.MMAP) ? mmapAreas(bytes, info, name) : [],
  };
}

function query(syscalls: Syscalls, fd: Fd, index: number, length: number): Uint8Array {
  const bytes = regionInfo.encode({ index }, new Uint8Array(length - regionInfo.size));
  syscalls.ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, bytes);
  const { argsz } = regionInfo.decode(bytes);
  if (argsz <= length) return bytes;
  if (argsz > MOST_INFO_BYTES) throw malformed(`region ${index}`, `described in ${argsz} bytes`);
  return query(syscalls, fd, index, argsz);
}

/** Without the sparse capability the whole region may be mapped. */
function mmapAreas(bytes: Uint8Array, info: Decoded<typeof regionInfo>, name: string): readonly MmapArea[] {
  const chained = (info.flags & VFIO_REGION_INFO_FLAG.CAPS) !== 0 ? info.cap_offset : 0;
  const sparse = findCapability(decodeCapabilities(bytes, chained), VFIO_REGION_INFO_CAP.SPARSE_MMAP);
  if (sparse === undefined) return [{ offset: 0, size: Number(info.size) }];
  for (const area of sparseAreas(sparse)) {
    if (area.offset + area.size > info.size) throw malformed(name, `mappable up to ${area.offset + area.size}`);
  }
  return sparseAreas(sparse)
    .filter((area) => area.size > 0n)
    .map((area) => ({ offset: Number(area.offset), size: Number(area.size) }));
}

function malformed(name: string, is: string): IospanError {
  return malformedAnswer(`the kernel says that ${name} is ${is}`);
}

import type { Decoded } from "../abi/codec.js";
import { errno } from "../abi/errno.js";
import {
  dependentDevice,
  dependentDeviceById,
  hotResetInfo,
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
  VFIO_PCI_DEVID,
  VFIO_PCI_HOT_RESET_FLAG,
} from "../abi/vfio-pci-reset.js";
import { malformedAnswer } from "../errors.js";
import { type Fd, SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import { openGroups } from "./group.js";
import { type HitFunction, obstacleOf, readHitFunction, wayPast } from "./hit-function.js";
import { type About, refusal } from "./refusal.js";

/** A device that a hot reset hits. */
export interface HotResetDevice {
  /** The kernel's name. */
  readonly name: string;
  /** Its IOMMU group's number; undefined where it has none. */
  readonly group: number | undefined;
  /**
   * Whether the kernel takes it for the caller's: of a group that this process has open, or bound to the same iommufd. It never
   * does so of a virtual function that would be reset with its physical function.
   */
  readonly owned: boolean;
}

/** What a hot reset would hit, and whether the kernel lets it happen. */
export interface HotResetScope {
  /** The functions of the slot, or all on the bus and behind it; none where there is no such reset. */
  readonly devices: readonly HotResetDevice[];
  readonly possible: boolean;
  /** Why it is possible, or is not, in words. */
  readonly reason: string;
  /** What may be done: to have it, or instead of it. */
  readonly hint: string;
}

/** Functions that there is room for at first; for more it is asked again. */
const FIRST_ROOM = 8;
/** Functions that the buses of a segment have room for. */
const MOST_DEVICES = 2 ** 16;

/** Why the kernel has nothing to tell. */
const NO_SCOPE: Readonly<Record<number, string>> = {
  [errno.ENODEV]:
    "neither its slot nor its bus can be reset: it is on a root bus, or a bridge or another device there rules it out",
  [errno.EPERM]: "a device that would be reset with it is in no IOMMU group",
};

/** Of a device that no hot reset is for. */
export function noHotReset(reason: string): HotResetScope {
  return { devices: [], possible: false, reason, hint: "device.reset() may work" };
}

/**
 * Asks what a hot reset would hit (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_ioctl_get_pci_hot_reset_info).
 * @throws IospanError `ERR_IOSPAN_SYSCALL` when the kernel does not tell.
 */
export function readHotResetScope(syscalls: Syscalls, fd: Fd, about: About): HotResetScope {
  try {
    return judged(syscalls, readAnswer(syscalls, fd, FIRST_ROOM), about.device);
  } catch (error) {
    const reason = error instanceof SyscallError ? NO_SCOPE[error.errno] : undefined;
    if (reason !== undefined) return noHotReset(reason);
    throw refusal(error, about, {
      code: "ERR_IOSPAN_SYSCALL",
      message: `the kernel does not tell what a hot reset of ${about.device} would hit`,
      hint: "the kernel log may say more: dmesg | grep -e vfio -e pci",
    });
  }
}

/** What the kernel says: `id` is a group's number, or with `byId` the iommufd's for the device. */
interface Answer {
  readonly byId: boolean;
  readonly dependents: readonly { readonly id: number; readonly name: string }[];
}

function readAnswer(syscalls: Syscalls, fd: Fd, room: number): Answer {
  const bytes = hotResetInfo.encode({}, new Uint8Array(room * dependentDevice.size));
  try {
    syscalls.ioctl(fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, bytes);
  } catch (error) {
    if (!(error instanceof SyscallError) || error.errno !== errno.ENOSPC) throw error;
    const { count } = hotResetInfo.decode(bytes);
    if (count <= room || count > MOST_DEVICES) throw malformedAnswer(`a hot reset would hit ${count} devices`);
    return readAnswer(syscalls, fd, count);
  }
  return answerOf(bytes, room);
}

function answerOf(bytes: Uint8Array, room: number): Answer {
  const { flags, count } = hotResetInfo.decode(bytes);
  if (count > room) throw malformedAnswer(`the kernel tells of ${count} devices where there is room for ${room}`);
  const byId = (flags & VFIO_PCI_HOT_RESET_FLAG.DEV_ID) !== 0;
  const places = Array.from({ length: count }, (_, index) => hotResetInfo.size + index * dependentDevice.size);
  const dependents = places.map((at) => {
    const id = byId ? dependentDeviceById.decode(bytes, at).devid : dependentDevice.decode(bytes, at).group_id;
    return { id, name: nameOf(dependentDevice.decode(bytes, at)) };
  });
  return { byId, dependents };
}

/** As the kernel prints it (drivers/pci/probe.c, pci_setup_device). */
function nameOf({ segment, bus, devfn }: Decoded<typeof dependentDevice>): string {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  return `${hex(segment, 4)}:${hex(bus, 2)}:${hex(devfn >> 3, 2)}.${devfn & 7}`;
}

function judged(syscalls: Syscalls, { byId, dependents }: Answer, asked: string | undefined): HotResetScope {
  const hit = dependents.map(({ id, name }) => ({ id, place: readHitFunction({ syscalls }, name) }));
  const virtual = hit.length === 1 ? [] : hit.map(({ place }) => place).filter(({ isVirtual }) => isVirtual);
  // A virtual function is a device set of its own, and a set is reset when all that is hit belongs to it.
  const own = virtual.find(({ name }) => name === asked);
  const judgements = hit.map(({ id, place }) => {
    const owned = own === undefined && !virtual.includes(place) && isOurs(syscalls, byId, id, place);
    return { place, device: { name: place.name, group: byId ? place.group : id, owned } };
  });
  const devices = judgements.map(({ device }) => device);
  const others = judgements.filter(({ device }) => !device.owned).map(({ place, device }) => ({ ...place, ...device }));
  const obstacles = own === undefined ? others : [own];
  if (obstacles.length > 0) {
    return { devices, possible: false, reason: obstacles.map(obstacleOf).join("; "), hint: wayPast(obstacles) };
  }
  const reason = devices.length === 1 ? "it is reset alone" : "all that it resets is the caller's";
  return { devices, possible: true, reason, hint: "device.hotReset()" };
}

/** Where sysfs does not tell who drives it, the kernel decides when it is asked to reset. */
function isOurs(syscalls: Syscalls, byId: boolean, id: number, { onVfio }: HitFunction): boolean {
  if (byId) return id !== VFIO_PCI_DEVID.NOT_OWNED;
  return onVfio !== false && openGroups.of(syscalls).has(id);
}

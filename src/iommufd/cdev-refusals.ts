import { errno } from "../abi/errno.js";
import { IospanError } from "../errors.js";
import { reservedRegions } from "../machine/groups.js";
import type { Syscalls } from "../syscalls/syscalls.js";
import type { DeviceIdentity } from "../vfio/device.js";
import { groupBusy } from "../vfio/group-refusals.js";
import { isolationHint } from "../vfio/isolated-interrupts.js";
import { type Meaning, nodeRefusal, refusal, shortages } from "../vfio/refusal.js";
import { either, vfTokenMeanings } from "../vfio/vf-token.js";
import { needsIommufdHint } from "./iommufd-refusals.js";

type Meanings = Readonly<Record<number, Meaning>>;

/** A device that is opened through its own node. */
export interface CdevIdentity extends DeviceIdentity {
  /** Its IOMMU group's number. */
  readonly group: number;
  /** `vfio3`, of `/dev/vfio/devices/vfio3`. */
  readonly node: string;
}

/** A device on a VFIO driver that has no node of its own. */
export function noCdev(device: string, iommu: string | undefined): IospanError {
  return new IospanError("ERR_IOSPAN_NO_IOMMUFD", `${device} has no node in /dev/vfio/devices`, {
    device,
    iommu,
    hint: needsIommufdHint,
  });
}

/** Why `/dev/vfio/devices/vfioN` could not be opened (drivers/vfio/device_cdev.c, vfio_device_fops_cdev_open). */
export function cdevOpenRefused(error: unknown, { name, iommu, node }: CdevIdentity): unknown {
  const path = `/dev/vfio/devices/${node}`;
  const subject = `${path}, the node of ${name},`;
  const missing: Meaning = {
    code: "ERR_IOSPAN_NO_IOMMUFD",
    message: `${subject} is not there`,
    hint: needsIommufdHint,
  };
  const forbiddenHint = `give yourself the node: chown $USER ${path} (or a udev rule: SUBSYSTEM=="vfio-dev", OWNER="…")`;
  const help = { path, subject, missing, forbiddenHint, logged: "vfio" };
  const unbound: Meaning = {
    ...missing,
    code: "ERR_IOSPAN_WRONG_DRIVER",
    hint: "bind the device to vfio-pci or vfio-platform",
  };
  return nodeRefusal(error, { device: name, iommu }, help, { [errno.ENODEV]: unbound });
}

/**
 * Why VFIO_DEVICE_BIND_IOMMUFD was refused (drivers/vfio/device_cdev.c, drivers/iommu/iommufd/device.c). To be asked when the
 * descriptor has been closed, lest it is found to be the one that is in the way.
 */
export function bindIommufdRefused(
  error: unknown,
  device: CdevIdentity,
  syscalls: Syscalls,
  vfToken?: string,
): unknown {
  const { name, iommu } = device;
  const refused = { code: "ERR_IOSPAN_ATTACH_REFUSED", message: `${name} cannot be bound to an iommufd` } as const;
  const number = error instanceof Error && "errno" in error ? error.errno : undefined;
  const busy = number === errno.EBUSY || number === errno.EINVAL;
  return refusal(
    error,
    { device: name, iommu },
    { ...refused, hint: "the kernel log says more: dmesg | grep -e vfio -e iommu" },
    {
      [errno.EPERM]: unsafeOrOwned(device),
      [errno.ENOTTY]: { ...refused, code: "ERR_IOSPAN_NO_IOMMUFD", hint: needsIommufdHint },
      ...tokenMeanings(name, vfToken),
      ...(busy ? whyBusy(device, syscalls, vfToken) : {}),
      ...shortages(refused),
    },
  );
}

/**
 * EBUSY: the group is open. EINVAL: the device is, through another descriptor of its node; or firmware uses its memory, which sysfs
 * tells; or it is about the token.
 */
function whyBusy({ name, group, node }: CdevIdentity, syscalls: Syscalls, vfToken: string | undefined): Meanings {
  const held = groupBusy({ id: group, device: name, node }, syscalls);
  const busy = { [errno.EBUSY]: held, [errno.EINVAL]: held };
  if (wantsDirectMapping(syscalls, group)) return { ...busy, [errno.EINVAL]: direct(name, group) };
  return { ...busy, ...either(errno.EINVAL, tokenMeanings(name, vfToken), busy) };
}

/** A kernel before 6.17 does not know the flag, which is EINVAL, too. */
function tokenMeanings(name: string, vfToken: string | undefined): Meanings {
  const meanings = vfTokenMeanings(name, vfToken);
  const refused = vfToken === undefined ? undefined : meanings[errno.EINVAL];
  if (refused === undefined) return meanings;
  const old = "; or the kernel is older than 6.17 and takes no token with a device's own node";
  const way = 'or take a strategy over groups: { strategy: "mirrored" }';
  const unknown = { ...refused, message: refused.message + old, hint: `${refused.hint}; ${way}` };
  return { ...meanings, [errno.EINVAL]: unknown, [errno.E2BIG]: unknown };
}

function unsafeOrOwned({ name, iommu, group }: CdevIdentity): Meaning {
  return {
    code: "ERR_IOSPAN_UNSAFE_INTERRUPTS",
    message: `${name} has no isolated interrupts, or its group ${group} belongs to another driver, container or iommufd`,
    hint: `check who drives the devices in /sys/kernel/iommu_groups/${group}/devices; else ${isolationHint(iommu, "iommufd")}`,
  };
}

function direct(name: string, group: number): Meaning {
  return {
    code: "ERR_IOSPAN_ATTACH_REFUSED",
    message: `firmware wants memory of ${name} mapped 1:1, which VFIO does not do`,
    hint: `cat /sys/kernel/iommu_groups/${group}/reserved_regions (type direct), and switch that off in the firmware setup`,
  };
}

/** Said in passing: the error to report is another one. */
function wantsDirectMapping(syscalls: Syscalls, group: number): boolean {
  try {
    return reservedRegions({ syscalls }, group).some(({ type }) => type === "direct");
  } catch (error) {
    if (error instanceof IospanError) return false;
    throw error;
  }
}

/** What a device was to be attached to: a page table of an IOMMU, or an address space, which has none in particular. */
interface AttachTarget {
  /** The IOMMU of the page table. */
  readonly tableOf: DeviceIdentity | undefined;
}

/** Why VFIO_DEVICE_ATTACH_IOMMUFD_PT was refused (drivers/iommu/iommufd/device.c, io_pagetable.c). */
export function attachRefused(error: unknown, device: CdevIdentity, { tableOf }: AttachTarget): unknown {
  const { name, iommu, group } = device;
  const refused = { code: "ERR_IOSPAN_ATTACH_REFUSED", message: `${name} cannot be attached` } as const;
  const conflict: Meaning = {
    ...refused,
    message: `${name} cannot be attached: a mapping lies in one of its reserved regions, or beyond what ${iommu} can address`,
    hint: `cat /sys/kernel/iommu_groups/${group}/reserved_regions, and compare with the mappings`,
  };
  return refusal(
    error,
    { device: name, iommu },
    { ...refused, hint: "the kernel log says more: dmesg | grep -e iommu -e smmu" },
    {
      [errno.EINVAL]: tableOf === undefined ? incompatible(device) : foreignTable(device, tableOf),
      [errno.EADDRINUSE]: conflict,
      [errno.EFAULT]: {
        ...refused,
        message: `${name} cannot be attached: memory that is mapped cannot be pinned`,
        hint: "it was unmapped from the process, or made inaccessible, after it had been mapped for DMA",
      },
      ...shortages(refused),
    },
  );
}

function incompatible({ name, iommu }: DeviceIdentity): Meaning {
  return {
    code: "ERR_IOSPAN_ATTACH_REFUSED",
    message: `${iommu} cannot have the mappings for ${name}`,
    hint: "its smallest pages are larger than the processor's, or another device of its group is attached elsewhere",
  };
}

function foreignTable({ name, iommu }: DeviceIdentity, table: DeviceIdentity): Meaning {
  if (iommu === table.iommu) return incompatible({ name, iommu, bus: table.bus });
  return {
    code: "ERR_IOSPAN_ATTACH_REFUSED",
    message:
      `${name} is behind ${iommu} and cannot use the page table of ${table.name}, which is one of ${table.iommu}: ` +
      "a domain belongs to one IOMMU",
    hint: "allocate a page table for this device, too, or attach both to the address space itself",
  };
}

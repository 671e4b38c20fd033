import { errno } from "../abi/errno.js";
import { IospanError } from "../errors.js";
import { formatHolders, groupHolders, ownPid } from "../machine/group-holders.js";
import type { Syscalls } from "../syscalls/syscalls.js";
import { unsafeInterrupts } from "./container-refusals.js";
import type { Group, GroupIdentity } from "./group.js";
import { deviceCgroupHint, type Meaning, refusal, shortages } from "./refusal.js";
import { vfTokenMeanings } from "./vf-token.js";

/** Why `/dev/vfio/N` could not be opened (drivers/vfio/group.c, vfio_group_fops_open). */
export function groupOpenRefused(error: unknown, group: GroupIdentity, syscalls: Syscalls): unknown {
  const { device, iommu, id } = group;
  const path = `/dev/vfio/${id}`;
  const forbidden: Meaning = {
    code: "ERR_IOSPAN_NO_PERMISSION",
    message: `${path}, the group of ${device}, may not be opened`,
    hint: `give yourself the group: chown $USER ${path} (or a udev rule: SUBSYSTEM=="vfio", OWNER="…")`,
  };
  // The device cgroup answers EPERM, mode bits EACCES; and VFIO asks for a capability (vfio_group_fops_open).
  const confined: Meaning = {
    code: "ERR_IOSPAN_NO_PERMISSION",
    message: `${path}, the group of ${device}, may not be opened, whoever owns it`,
    hint: `${deviceCgroupHint(path)}; a group without an IOMMU (no-IOMMU mode) also takes CAP_SYS_RAWIO`,
  };
  const unbound: Meaning = {
    code: "ERR_IOSPAN_WRONG_DRIVER",
    message: `${path} is not there: no device of the group of ${device} is bound to a VFIO driver`,
    hint: "bind the device to vfio-pci or vfio-platform first",
  };
  const refused = { code: "ERR_IOSPAN_SYSCALL", message: `${path}, the group of ${device}, cannot be opened` } as const;
  return refusal(
    error,
    { device, iommu },
    { ...refused, hint: "the kernel log says more: dmesg | grep vfio" },
    {
      [errno.ENOENT]: unbound,
      [errno.ENODEV]: unbound,
      [errno.ENXIO]: unbound,
      [errno.EACCES]: forbidden,
      [errno.EPERM]: confined,
      ...shortages(refused),
      ...(isBusy(error) ? { [errno.EBUSY]: groupBusy(group, syscalls) } : {}),
    },
  );
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && "errno" in error && error.errno === errno.EBUSY;
}

/** What cannot be had because somebody has the group, or a device of it, open. */
export interface BusyGroup extends Pick<GroupIdentity, "id" | "device"> {
  /** The device's own node, where that was to be opened. */
  readonly node?: string;
}

/** Somebody has the group, or a device of it, open: who, as far as /proc tells. */
export function groupBusy({ id, device, node }: BusyGroup, syscalls: Syscalls): Meaning {
  const paths = [...(node === undefined ? [] : [`/dev/vfio/devices/${node}`]), `/dev/vfio/${id}`];
  const group = `/dev/vfio/${id}, the group of ${device},`;
  const what = node === undefined ? group : `/dev/vfio/devices/${node}, the node of ${device}, or ${group}`;
  const holders = groupHolders({ syscalls }, id);
  const own = holders.length === 0 ? undefined : ownPid({ syscalls });
  const others = holders.filter(({ pid }) => pid !== own);
  const isOurs = others.length < holders.length;
  const who = [
    ...(isOurs ? ["this very process"] : []),
    ...(others.length > 0 ? [`process ${formatHolders(others)}`] : []),
  ].join(" and ");
  const hints = [
    ...(isOurs ? ["this process has it open already: close the other space or device object first"] : []),
    ...(others.length > 0 ? [`end it: kill ${others.map(({ pid }) => pid).join(" ")}`] : []),
  ];
  return {
    code: "ERR_IOSPAN_GROUP_BUSY",
    message: `${what} is in use${who && ` by ${who}`}`,
    hint:
      hints.join("; ") ||
      `find out who has it: fuser -v ${paths.join(" ")} (an open device or a mapped region keeps it too)`,
  };
}

/** Why a group could not join a container (drivers/vfio/container.c, drivers/iommu/iommu.c, vfio_iommu_type1.c). */
export function setContainerRefused(error: unknown, group: Group): unknown {
  const { id, device, iommu } = group;
  return refusal(
    error,
    { device, iommu },
    {
      code: "ERR_IOSPAN_ATTACH_REFUSED",
      message: `group ${id} of ${device} cannot join the container`,
      hint: "the kernel log says more: dmesg | grep -e vfio -e iommu -e smmu",
    },
    {
      [errno.EPERM]: {
        ...unsafeInterrupts(group),
        message: `group ${id} of ${device} is driven by another driver, or has no isolated interrupts`,
        hint: `check the drivers in /sys/kernel/iommu_groups/${id}/devices; else: ${unsafeInterrupts(group).hint}`,
      },
      [errno.EINVAL]: {
        code: "ERR_IOSPAN_ATTACH_REFUSED",
        message:
          `group ${id} of ${device} does not fit the container: a mapping lies in one of its reserved regions or beyond ` +
          "its aperture, or firmware wants a 1:1 mapping",
        hint: `cat /sys/kernel/iommu_groups/${id}/reserved_regions, and compare with the mappings`,
      },
      [errno.EBUSY]: {
        code: "ERR_IOSPAN_GROUP_BUSY",
        message: `the IOMMU of group ${id} of ${device} is in other use`,
        hint: "a kernel driver or another process uses a domain or a PASID of the group; unbind it",
      },
    },
  );
}

/** Why a group could not leave its container. */
export function unsetContainerRefused(error: unknown, { id, device, iommu }: Group): unknown {
  return refusal(
    error,
    { device, iommu },
    {
      code: "ERR_IOSPAN_BUSY",
      message: `group ${id} of ${device} cannot leave its container`,
      hint: "close its devices and release their regions first",
    },
  );
}

/** A group that is not taken out of an iommufd, which would let it go. */
export function devicesOpen({ id, device, iommu }: GroupIdentity, count: number): IospanError {
  const message = `group ${id} of ${device} cannot leave its container: ${count} of its devices ${count === 1 ? "is" : "are"} open`;
  return new IospanError("ERR_IOSPAN_BUSY", message, {
    device,
    iommu,
    hint: "close its devices and release their regions first",
  });
}

/** Why a device could not be opened (drivers/vfio/group.c, vfio_group_ioctl_get_device_fd). */
export function deviceRefused(error: unknown, { id, iommu }: Group, device: string, vfToken?: string): unknown {
  const refused = { code: "ERR_IOSPAN_SYSCALL", message: `${device} cannot be opened` } as const;
  return refusal(
    error,
    { device, iommu },
    { ...refused, hint: "the kernel log says more: dmesg | grep vfio" },
    {
      ...shortages(refused),
      ...vfTokenMeanings(device, vfToken),
      [errno.ENODEV]: {
        code: "ERR_IOSPAN_WRONG_DRIVER",
        message: `group ${id} has no device ${device} bound to a VFIO driver`,
        hint: "bind the device to vfio-pci or vfio-platform first",
      },
    },
  );
}

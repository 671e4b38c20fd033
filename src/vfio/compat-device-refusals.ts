import { errno } from "../abi/errno.js";
import type { GroupIdentity } from "./group.js";
import { isolationHint } from "./isolated-interrupts.js";
import { type Meaning, refusal, shortages } from "./refusal.js";
import { either, vfTokenMeanings } from "./vf-token.js";

type Meanings = Readonly<Record<number, Meaning>>;

/**
 * Why a device could not be opened where the container is an iommufd, which takes it over and enters every mapping for it then
 * (drivers/vfio/group.c, vfio_df_group_open; drivers/iommu/iommufd/device.c, io_pagetable.c).
 */
export function compatDeviceRefused(error: unknown, group: GroupIdentity, device: string, vfToken?: string): unknown {
  const { iommu } = group;
  const refused = { code: "ERR_IOSPAN_ATTACH_REFUSED", message: `${device} cannot be opened` } as const;
  const aboutToken = vfTokenMeanings(device, vfToken);
  const aboutMappings = mappingsRefused(group, refused);
  return refusal(
    error,
    { device, iommu },
    { ...refused, code: "ERR_IOSPAN_SYSCALL", hint: "the kernel log says more: dmesg | grep -e vfio -e iommu" },
    {
      ...shortages(refused),
      ...notTakenOver(group, device),
      ...aboutMappings,
      ...aboutToken,
      ...either(errno.EINVAL, aboutToken, aboutMappings),
    },
  );
}

/** iommufd_device_bind, and where there is nothing to bind. */
function notTakenOver({ id, iommu }: GroupIdentity, device: string): Meanings {
  return {
    [errno.EPERM]: {
      code: "ERR_IOSPAN_UNSAFE_INTERRUPTS",
      message: `${device} has no isolated interrupts, or its group ${id} belongs to another driver, container or iommufd`,
      hint: `check who drives the devices in /sys/kernel/iommu_groups/${id}/devices; else ${isolationHint(iommu, "iommufd")}`,
    },
    [errno.ENODEV]: {
      code: "ERR_IOSPAN_WRONG_DRIVER",
      message: `group ${id} has no device ${device} bound to a VFIO driver, or its iommufd has lost its address space`,
      hint: "bind the device to vfio-pci or vfio-platform first; then take the group out of the container, and attach it again",
    },
  };
}

/** iopt_table_enforce_dev_resv_regions and iopt_table_add_domain; EINVAL is also the device's that firmware has use for. */
function mappingsRefused({ id, iommu }: GroupIdentity, refused: Pick<Meaning, "code" | "message">): Meanings {
  const { code, message } = refused;
  const because = (what: string, hint: string): Meaning => ({ code, message: `${message}: ${what}`, hint });
  const regions = `cat /sys/kernel/iommu_groups/${id}/reserved_regions`;
  return {
    [errno.EINVAL]: because(
      `${iommu} cannot have the container's mappings, or firmware wants memory of the device mapped 1:1`,
      "an iommufd takes no IOMMU whose smallest pages are larger than the processor's: for that use a kernel with VFIO's own " +
        `containers (CONFIG_VFIO_CONTAINER); for 1:1 regions: ${regions} (type direct), and switch it off in the firmware`,
    ),
    [errno.EADDRINUSE]: because(
      `a mapping lies in one of its reserved regions, or beyond what ${iommu} can address`,
      `${regions}, and compare with the mappings`,
    ),
    [errno.EFAULT]: because(
      "memory that was mapped before there was a device cannot be pinned",
      'it must be mapped in this process, and writable unless its access is "read"',
    ),
    [errno.ENOMEM]: because(
      "the memory that is mapped, which is pinned now, cannot be locked, or the kernel has no memory left for it",
      "raise the limit: ulimit -l unlimited in the shell, LimitMEMLOCK=infinity in a systemd unit; or free memory",
    ),
  };
}

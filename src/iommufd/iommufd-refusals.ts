import { errno } from "../abi/errno.js";
import { IospanError } from "../errors.js";
import { hex, type Iova } from "../iova.js";
import type { Syscalls } from "../syscalls/syscalls.js";
import type { DmaMapping } from "../vfio/container.js";
import { mappingRefused } from "../vfio/container-refusals.js";
import { type About, type Meaning, nodeRefusal, refusal, shortages } from "../vfio/refusal.js";

/** What a kernel has to be to have what this room needs. */
export const needsIommufdHint: string =
  "it takes Linux 6.6 or newer, built with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV (modprobe iommufd); without, use the " +
  'strategies "shared-container" and "mirrored", which need neither';

/** Why `/dev/iommu` could not be opened. */
export function iommufdOpenRefused(error: unknown, path: string, about: About): unknown {
  const missing: Meaning = {
    code: "ERR_IOSPAN_NO_IOMMUFD",
    message: `${path} is not there: the kernel has no iommufd`,
    hint: needsIommufdHint,
  };
  return nodeRefusal(error, about, {
    path,
    missing,
    forbiddenHint: `give yourself the node: chown $USER ${path} (or a udev rule: KERNEL=="iommu", OWNER="…")`,
    logged: "iommufd",
  });
}

/** Why IOMMU_IOAS_ALLOC was refused. */
export function ioasRefused(error: unknown, about: About): unknown {
  const refused = { code: "ERR_IOSPAN_SYSCALL", message: "no I/O address space can be made" } as const;
  return refusal(
    error,
    about,
    { ...refused, hint: "the kernel log may say more: dmesg | grep iommufd" },
    shortages(refused),
  );
}

/** Why IOMMU_HWPT_ALLOC was refused (drivers/iommu/iommufd/hw_pagetable.c, and the IOMMU's driver). */
export function tableRefused(error: unknown, about: About): unknown {
  const refused = {
    code: "ERR_IOSPAN_ATTACH_REFUSED",
    message: `${about.iommu} makes no page table for ${about.device}`,
  } as const;
  const unknown: Meaning = { ...refused, code: "ERR_IOSPAN_NO_IOMMUFD", hint: needsIommufdHint };
  return refusal(
    error,
    about,
    { ...refused, hint: "the kernel log says more: dmesg | grep -e iommu -e smmu" },
    {
      [errno.ENOTTY]: unknown,
      [errno.EOPNOTSUPP]: {
        ...refused,
        message: `the driver of ${about.iommu} makes no page tables of the program's`,
        hint: 'attach the device to the address space itself, or use the strategy "shared-container" or "mirrored"',
      },
      ...shortages(refused),
    },
  );
}

/** Why IOMMU_IOAS_MAP was refused (drivers/iommu/iommufd/ioas.c, io_pagetable.c). */
export function ioasMapRefused(error: unknown, mapping: DmaMapping, about: About, syscalls: Syscalls): unknown {
  return mappingRefused(error, { mapping, about, syscalls, counted: "for all processes of a user together" });
}

/** Why IOMMU_IOAS_UNMAP was refused: a mapping reaches out of the range. */
export function ioasUnmapRefused(error: unknown, iova: Iova, size: number, about: About): unknown {
  return refusal(error, about, {
    code: "ERR_IOSPAN_UNMAP_REFUSED",
    message: `${hex(size)} bytes at IOVA ${hex(iova)} behind ${about.iommu} cannot be unmapped`,
    hint: "they must be whole mappings, as they were mapped",
  });
}

/** Something is used after its end. */
export function closedIommufd(what: string): IospanError {
  return new IospanError("ERR_IOSPAN_CLOSED", `${what} is closed`, { hint: "open a new one" });
}

import { errno } from "../abi/errno.js";
import { IospanError } from "../errors.js";
import { hex, type Iova } from "../iova.js";
import { type About, type Meaning, refusal, shortages } from "../vfio/refusal.js";
import type { PageTableOptions } from "./hw-page-table.js";
import { needsIommufdHint } from "./iommufd-refusals.js";

/** Why IOMMU_HWPT_ALLOC was refused (drivers/iommu/iommufd/hw_pagetable.c, and the IOMMU's driver). */
export function tableRefused(error: unknown, about: About, options: PageTableOptions): unknown {
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
      [errno.EOPNOTSUPP]: unsupported(about, options),
      ...shortages(refused),
    },
  );
}

/** The same errno for a driver without page tables of the program's, and for an IOMMU without what is asked of one. */
function unsupported({ iommu }: About, options: PageTableOptions): Meaning {
  const asked = (["nestParent", "dirtyTracking", "pasid"] as const).filter((option) => options[option] === true);
  if (asked.length === 0) {
    return {
      code: "ERR_IOSPAN_ATTACH_REFUSED",
      message: `the driver of ${iommu} makes no page tables of the program's`,
      hint: 'attach the device to the address space itself, or use the strategy "shared-container" or "mirrored"',
    };
  }
  const needs = {
    nestParent: "nestParent takes an SMMU with both stages, and excludes the others",
    dirtyTracking:
      "dirtyTracking takes hardware that updates page tables (SMMUv3: IDR0.HTTU 2 or 3) and coherent walks",
    pasid: "pasid takes an IOMMU with stage 1",
  };
  return {
    code: "ERR_IOSPAN_NOT_SUPPORTED",
    message: `${iommu}, or its driver, has no page tables with ${asked.join(" and ")}`,
    hint: `${asked.map((option) => needs[option]).join("; ")}: BoundDevice.hardwareInfo() tells what there is`,
  };
}

/** Why IOMMU_DESTROY was refused for a page table (drivers/iommu/iommufd/main.c, iommufd_object_remove). */
export function tableDestroyRefused(error: unknown, about: About): unknown {
  const refused = { message: `the page table of ${about.device} cannot be ended` } as const;
  return refusal(
    error,
    about,
    { ...refused, code: "ERR_IOSPAN_SYSCALL", hint: "the kernel log may say more: dmesg | grep iommu" },
    {
      [errno.EBUSY]: {
        code: "ERR_IOSPAN_BUSY",
        message: `${refused.message}: devices are attached to it`,
        hint: "detach them, or attach them elsewhere, first",
      },
    },
  );
}

/** Why dirty tracking could not be switched, or what it found not be read (drivers/iommu/iommufd/hw_pagetable.c). */
export function dirtyRefused(error: unknown, doing: string, about: About): unknown {
  const message = `${doing} behind ${about.iommu} failed`;
  const none: Meaning = {
    code: "ERR_IOSPAN_NOT_SUPPORTED",
    message: `${doing} failed: the page table of ${about.iommu} does not track writes`,
    hint: "make it with { dirtyTracking: true }, on Linux 6.7 or newer, where the IOMMU can",
  };
  return refusal(
    error,
    about,
    { code: "ERR_IOSPAN_SYSCALL", message, hint: "the kernel log may say more: dmesg | grep iommu" },
    {
      [errno.EOPNOTSUPP]: none,
      [errno.ENOTTY]: none,
      [errno.EINVAL]: {
        code: "ERR_IOSPAN_MAP_ALIGNMENT",
        message: `${message}: the range is not made of whole pages`,
        hint: "start and size must be multiples of pageSize, and of what Ioas.rules() gives as alignment",
      },
      ...shortages({ code: "ERR_IOSPAN_SYSCALL", message }),
    },
  );
}

/** A range that is not all mapped: the kernel would stop at the first hole without saying so (iova_bitmap.c). */
export function unmappedRange(iova: Iova, size: number, about: About): IospanError {
  const message = `${hex(size)} bytes at IOVA ${hex(iova)} are not all mapped: which of them were written to cannot be told`;
  return new IospanError("ERR_IOSPAN_MAP_RANGE", message, {
    ...about,
    hint: "ask about one mapping, or about several without a hole between them",
  });
}

/** A range that begins or ends inside of a page. */
export function noWholePages(iova: Iova, size: number, pageSize: number, about: About): IospanError {
  const message = `${size} bytes at IOVA ${hex(iova)} are not whole pages of ${pageSize} bytes`;
  return new IospanError("ERR_IOSPAN_MAP_ALIGNMENT", message, {
    ...about,
    hint: "ask about multiples of the page size, or with a smaller page size",
  });
}

/** A page size that is none. */
export function noPageSize(pageSize: number, about: About): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${pageSize} bytes are no page size`, {
    ...about,
    hint: "pass a power of two, such as 4096",
  });
}

import { IospanError } from "../../errors.js";
import type { BoundDevice } from "../../iommufd/bound-device.js";
import { HwPageTable } from "../../iommufd/hw-page-table.js";
import type { Ioas } from "../../iommufd/ioas.js";
import type { Syscalls } from "../../syscalls/syscalls.js";
import { IommufdStrategy } from "./iommufd-strategy.js";
import type { Strategy } from "./strategy.js";
import { withWayOut } from "./way-out.js";

const WAY_OUT =
  'open the space with { strategy: "mirrored" } or, where the IOMMUs have a page size in common, ' +
  '{ strategy: "shared-container" }: they keep a domain per IOMMU, with the same mappings';

/**
 * One page table, an iommu_domain, for all devices: the one that is made for the first of them. That is what one would try
 * first, and what the kernel refuses for a device behind another IOMMU (arm-smmu-v3.c, arm_smmu_attach_dev). Behind one
 * IOMMU it works, and pins memory once. SMMUs take Linux 6.11 for it.
 */
export function singleDomain(syscalls: Syscalls): Strategy {
  return new IommufdStrategy(syscalls, "single-domain", (iommufd, ioas) => {
    let table: HwPageTable | undefined;
    return {
      attach: async (device) => {
        try {
          table ??= await HwPageTable.allocate(iommufd, device, ioas);
          await device.attach(table);
        } catch (error) {
          throw withWayOut(error, WAY_OUT);
        }
        requireRoom(ioas, device, syscalls.pageSize);
        return table.id;
      },
    };
  });
}

/**
 * Up to Linux 6.10 the driver of SMMUs leaves a domain that is made on its own without an aperture until a device is attached
 * (arm-smmu-v3.c, arm_smmu_domain_alloc), and iommufd has ruled out every address by then (io_pagetable.c,
 * iopt_table_add_domain).
 */
function requireRoom(ioas: Ioas, { name, iommu }: BoundDevice, pageSize: number): void {
  if (ioas.rules().ranges.some(({ start, end }) => end - start + 1n >= BigInt(pageSize))) return;
  throw new IospanError(
    "ERR_IOSPAN_ATTACH_REFUSED",
    `the page table of ${iommu} for ${name} has no address to map at`,
    {
      device: name,
      iommu,
      hint: 'use Linux 6.11 or newer, or open the space with { strategy: "mirrored" }',
    },
  );
}

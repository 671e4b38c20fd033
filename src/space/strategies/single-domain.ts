import { HwPageTable } from "../../iommufd/hw-page-table.js";
import type { Syscalls } from "../../syscalls/syscalls.js";
import { IommufdStrategy } from "./iommufd-strategy.js";
import type { Strategy } from "./strategy.js";
import { withWayOut } from "./way-out.js";

const WAY_OUT =
  'open the space with { strategy: "shared-container" } or { strategy: "mirrored" }: they keep a domain per IOMMU, with the ' +
  "same mappings";

/**
 * One page table, an iommu_domain, for all devices: the one that is made for the first of them. That is what one would try
 * first, and what the kernel refuses for a device behind another IOMMU (arm-smmu-v3.c, arm_smmu_attach_dev). Behind one
 * IOMMU it works, and pins memory once.
 */
export function singleDomain(syscalls: Syscalls): Strategy {
  return new IommufdStrategy(syscalls, "single-domain", (iommufd, ioas) => {
    let table: HwPageTable | undefined;
    return {
      attach: async (device) => {
        table ??= await HwPageTable.allocate(iommufd, device, ioas);
        try {
          await device.attach(table);
        } catch (error) {
          throw withWayOut(error, WAY_OUT);
        }
      },
    };
  });
}

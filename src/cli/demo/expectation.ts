import type { ApproachName } from "./approaches.js";
import { isSince } from "./release.js";
import type { Expectation } from "./result.js";

/** What the outcome depends on. */
export interface Circumstances {
  /** `uname -r`. */
  readonly release: string;
  /** Bytes of the processor's pages. */
  readonly pageSize: number;
  /** For each different IOMMU that interfaces are behind, bytes of the smallest page that Linux makes its tables of. */
  readonly granules: readonly number[];
  /** Whether no interface can raise an interrupt that is another's, or VFIO was told not to mind. */
  readonly isolatedInterrupts: boolean;
}

type Rule = (circumstances: Circumstances) => Expectation | undefined;

/** What is known of Linux: whether an approach works on such a machine, and why. The first rule that applies decides. */
export function expectation(approach: ApproachName, circumstances: Circumstances): Expectation {
  for (const rule of rules[approach]) {
    const expected = rule(circumstances);
    if (expected !== undefined) return expected;
  }
  throw new RangeError(`no rule for ${approach}`);
}

// drivers/vfio/device_cdev.c and iommufd's IOMMU_HWPT_ALLOC are of 6.6.
const noIommufd: Rule = ({ release }) =>
  isSince(release, [6, 6])
    ? undefined
    : refused(null, "it takes iommufd, which drives VFIO's devices from Linux 6.6 on");

// vfio_iommu_type1.c, vfio_iommu_type1_attach_group; iommufd/device.c, iommufd_device_bind.
const unsafeInterrupts: Rule = ({ isolatedInterrupts }) =>
  isolatedInterrupts
    ? undefined
    : refused("EPERM", "an interface has no isolated interrupts (no msi-parent), which VFIO asks for");

// drivers/iommu/iommufd/io_pagetable.c, iopt_table_add_domain.
const pagesTooLarge: Rule = ({ granules, pageSize }) =>
  granules.some((granule) => granule > pageSize)
    ? refused("EINVAL", "iommufd takes no IOMMU whose smallest page is larger than the processor's")
    : undefined;

// drivers/iommu/arm/arm-smmu-v3, broken by 48e7b8e284e5, mended by be5a2d3f8f97.
const silentAttach: Rule = ({ granules, release }) =>
  granules.length > 1 && isSince(release, [6, 14]) && !isSince(release, [6, 15, 3])
    ? refused(
        null,
        "Linux 6.14 to 6.15.2 says yes to a device of another SMMU, does not attach it, and its DMA is lost; so iospan says no",
      )
    : undefined;

// drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c, arm_smmu_attach_dev.
const foreignDomain: Rule = ({ granules }) =>
  granules.length > 1
    ? refused(
        "EINVAL",
        "a domain's tables are invalidated through the command queue of one SMMU, so its driver attaches no device of another",
      )
    : undefined;

// drivers/vfio/vfio_iommu_type1.c, vfio_update_pgsize_bitmap: what all domains have.
const noCommonPage: Rule = ({ granules }) =>
  new Set(granules).size > 1
    ? refused(null, "its IOMMUs have no page size in common, which a container cannot do without")
    : undefined;

const rules: Readonly<Record<ApproachName, readonly Rule[]>> = {
  "single-domain": [
    noIommufd,
    silentAttach,
    unsafeInterrupts,
    foreignDomain,
    pagesTooLarge,
    works("all interfaces are behind one IOMMU"),
  ],
  mirrored: [unsafeInterrupts, works("every kernel with VFIO gives each IOMMU a container of its own")],
  "shared-container": [
    silentAttach,
    unsafeInterrupts,
    noCommonPage,
    works("type1 keeps a domain for each IOMMU and maps into all"),
  ],
  iommufd: [
    noIommufd,
    silentAttach,
    unsafeInterrupts,
    pagesTooLarge,
    works("iommufd keeps a page table for each IOMMU and maps into all"),
  ],
};

function works(because: string): Rule {
  return () => ({ works: true, errno: null, because });
}

function refused(errno: string | null, because: string): Expectation {
  return { works: false, errno, because };
}

import type { Translation } from "./translation.js";

/** What a plan should say of two devices on a machine of which only the device tree is known. */
export interface ExpectedPlan {
  /** Why, in a word. */
  readonly relation: Relation;
  /** Undefined where nothing can be expected. */
  readonly strategies: Readonly<Record<ExpectedStrategy, ExpectedVerdict>> | undefined;
}

export type ExpectedStrategy = "mirrored" | "shared-container" | "iommufd" | "single-domain";
export type ExpectedVerdict = "yes" | "no" | "unknown";

/**
 * `same` IOMMU, or `different` ones; `unusable`: one of the two is off, is not translated, or VFIO refuses it; `unknown` where
 * it depends on which function behind a PCI host is meant, or on a driver that is not known.
 */
export type Relation = "same" | "different" | "unusable" | "unknown";

const SMMUV3 = "arm/arm-smmu-v3/arm-smmu-v3.c";
/** Drivers whose domains have no aperture before a device is attached (their domain_alloc_paging). */
const LATE = ["arm/arm-smmu/arm-smmu.c", "arm/arm-smmu/qcom_iommu.c"];

/** Worked out from two {@link Translation}s and Linux's source alone. */
export function expectedPlan(a: Translation, b: Translation): ExpectedPlan {
  const relation = relationOf(a, b);
  const plan = (
    mirrored: ExpectedVerdict,
    shared: ExpectedVerdict,
    iommufd: ExpectedVerdict,
    one: ExpectedVerdict,
  ) => ({
    relation,
    strategies: { mirrored, "shared-container": shared, iommufd, "single-domain": one },
  });
  switch (relation) {
    case "unusable":
      return plan("no", "no", "no", "no");
    case "unknown":
      return { relation, strategies: undefined };
    case "same":
      // Whether there is an iommufd at all is the kernel's business.
      return plan("yes", "yes", "unknown", isLate(a) ? "no" : "unknown");
    case "different":
      // Some releases attach nothing of a second SMMUv3 to a container or an iommufd, and say that they did.
      return plan("yes", bothSmmuv3(a, b) ? "unknown" : "yes", "unknown", "no");
  }
}

function relationOf(a: Translation, b: Translation): Relation {
  if ([a, b].some(isUnusable)) return "unusable";
  if (a.iommus === undefined || b.iommus === undefined) return "unknown";
  return a.iommus.join() === b.iommus.join() ? "same" : "different";
}

function isUnusable({ present, role, iommus, coherent }: Translation): boolean {
  return (
    !present || role === "bus" || role === "bridge" || (iommus !== undefined && (iommus.length === 0 || !coherent))
  );
}

function isLate({ drivers }: Translation): boolean {
  return drivers.some((driver) => LATE.includes(driver));
}

function bothSmmuv3(a: Translation, b: Translation): boolean {
  return [...a.drivers, ...b.drivers].filter((driver) => driver === SMMUV3).length > 1;
}

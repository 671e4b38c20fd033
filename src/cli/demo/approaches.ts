import type { StrategyName } from "../../space/strategies/strategy.js";

/** What there is to try, in the order of the story: what one would do first, what works everywhere, what else there is. */
export const approachNames = [
  "single-domain",
  "mirrored",
  "shared-container",
  "iommufd",
] as const satisfies readonly StrategyName[];
export type ApproachName = (typeof approachNames)[number];

/** What each approach is, in a line. */
export const approachTitles: Readonly<Record<ApproachName, string>> = {
  "single-domain": "one IOMMU domain for all interfaces",
  mirrored: "a VFIO container per IOMMU, every mapping made in each",
  "shared-container": "one VFIO container; the kernel keeps a domain per IOMMU",
  iommufd: "one iommufd address space; the kernel keeps a table per IOMMU",
};

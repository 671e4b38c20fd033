import { answeredInfo } from "./limits.js";
import type { EntryBudget } from "./plan.js";
import type { Situation } from "./situation.js";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** vfio_iommu_type1.c, dma_entry_limit: U16_MAX where it is not set. */
const DEFAULT_ENTRIES = 65535;

/** How many mappings a container takes, and how much memory so many reach. @param granule see `PlannedPageSizes.granule` */
export function budgetEntries({ index, subjects }: Situation, granule: number | undefined): EntryBudget {
  const answers = subjects.flatMap((subject) => answeredInfo(subject)?.entries ?? []);
  const parameter = index.kernel?.vfio.parameters.get("vfio_iommu_type1.dma_entry_limit");
  const limit = /^\d+$/.test(parameter ?? "") ? Number(parameter) : DEFAULT_ENTRIES;
  const perContainer = answers.length > 0 ? Math.min(...answers) : limit;
  const page = granule ?? index.kernel?.pageSize ?? 4096;
  const sizes = [...new Set([page, 2 * MIB, GIB])];
  return { perContainer, reach: sizes.map((pageSize) => ({ pageSize, bytes: pageSize * perContainer })) };
}

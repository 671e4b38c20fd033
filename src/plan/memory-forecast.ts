import type { KernelFacts } from "../survey/survey.js";
import type { MemoryForecast, StrategyPlan } from "./plan.js";

const GIB = 2 ** 30;
/** CAP_IPC_LOCK as a bit of CapEff (include/uapi/linux/capability.h). */
const CAP_IPC_LOCK = 1n << 14n;

/**
 * What mapping costs of RLIMIT_MEMLOCK. What is left is the most for an iommufd: what other processes of the user pin comes off
 * it, and nobody tells how much that is. VFIO counts a page for each container that pins it, for the process (VmLck); an iommufd
 * once, for the user (VmPin shows the process's part; iommufd/pages.c, iopt_pages_update_pinned). CAP_IPC_LOCK lifts the limit
 * for both (vfio_iommu_type1.c, vfio_pin_pages_remote; iommufd/pages.c, iopt_alloc_pages).
 */
export function forecastMemory(strategies: readonly StrategyPlan[], kernel: KernelFacts | undefined): MemoryForecast {
  const limit = kernel?.process.memlock?.soft;
  const isExempt = exemption(kernel);
  const perStrategy = strategies.flatMap(({ strategy, timesPinned }) => {
    if (timesPinned === undefined) return [];
    const isIommufds = strategy === "iommufd" || strategy === "single-domain";
    const counted = (isIommufds ? kernel?.process.pinned : kernel?.process.locked) ?? 0;
    const most = mostOf({ limit, isExempt, counted, timesPinned });
    return [{ strategy, countedPerGiB: timesPinned * GIB, most }];
  });
  return { limit, isExempt, perStrategy };
}

/** In another than the first user namespace the capability does not count (kernel/capability.c, capable). */
function exemption(kernel: KernelFacts | undefined): boolean | undefined {
  const { capabilities, hasAllUsers } = kernel?.process ?? {};
  if (capabilities === undefined) return undefined;
  if ((capabilities & CAP_IPC_LOCK) === 0n || hasAllUsers === false) return false;
  return hasAllUsers === true ? true : undefined;
}

interface Account {
  readonly limit: number | undefined;
  readonly isExempt: boolean | undefined;
  readonly counted: number;
  readonly timesPinned: number;
}

function mostOf({ limit, isExempt, counted, timesPinned }: Account): number | undefined {
  if (isExempt === true || limit === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
  return limit === undefined ? undefined : Math.floor(Math.max(0, limit - counted) / timesPinned);
}

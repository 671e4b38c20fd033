import { IOMMU_VFIO_IOAS, IOMMU_VFIO_IOAS_OP, vfioIoas } from "../abi/iommufd-ioas.js";
import { allMapped } from "./copy-question.js";
import type { KernelQuestion } from "./kernel-question.js";
import type { IovaSize } from "./mapping-probe.js";
import { type About, unexplained } from "./refusal.js";

/**
 * Whether every byte of a range is mapped, in however many mappings, in the address space that VFIO's calls work on in an
 * iommufd. It is asked by iommufd's own calls, which its descriptor takes, too (drivers/iommu/iommufd/vfio_compat.c,
 * iommufd_vfio_ioas).
 */
export function* allMappedInCompatIoas(range: IovaSize, about: About): KernelQuestion<boolean> {
  const bytes = vfioIoas.encode({ op: IOMMU_VFIO_IOAS_OP.GET });
  const refused = yield { call: IOMMU_VFIO_IOAS, bytes };
  if (refused !== undefined) throw unexplained(refused, "asking an iommufd for the container's address space", about);
  return yield* allMapped(vfioIoas.decode(bytes).ioas_id, range, about);
}

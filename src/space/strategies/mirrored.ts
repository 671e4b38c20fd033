import type { Syscalls } from "../../syscalls/syscalls.js";
import { ContainerStrategy } from "./containers.js";
import type { Strategy } from "./strategy.js";

/**
 * A container per IOMMU; every mapping is made in each. Works on every kernel that has VFIO. Memory is pinned, and counts
 * against RLIMIT_MEMLOCK, once per container. Only here can a mapping reach some interfaces and not others.
 */
export function mirrored(syscalls: Syscalls): Strategy {
  return new ContainerStrategy(syscalls, "mirrored", true, (iommu) => iommu);
}

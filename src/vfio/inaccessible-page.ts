import { MappedMemory } from "../syscalls/mapped-memory.js";
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_NONE } from "../syscalls/mmap-flags.js";
import type { Syscalls } from "../syscalls/syscalls.js";

/**
 * A page that cannot be pinned: mapping it fails, and how tells what the kernel thinks of the IOVAs. Aligned to more than
 * any IOMMU's smallest page, lest the kernel refuses to look any further for that.
 */
export function inaccessiblePage(syscalls: Syscalls): MappedMemory {
  const request = { length: syscalls.pageSize, prot: PROT_NONE, flags: MAP_PRIVATE | MAP_ANONYMOUS };
  return MappedMemory.mapAligned(syscalls, request, 2 ** 21);
}

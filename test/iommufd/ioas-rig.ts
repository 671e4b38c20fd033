import { iova } from "../../src/iova.js";
import { MAP_ANONYMOUS, MAP_PRIVATE } from "../../src/syscalls/mmap-flags.js";
import type { DmaMapping } from "../../src/vfio/container.js";
import { FIRST, IommufdRig } from "./rig.js";

export const PAGE = 4096;

/** Anonymous memory of so many pages. */
export function memory({ kernel }: IommufdRig, pages: number): bigint {
  return kernel.mmap({ length: pages * PAGE, prot: 3, flags: MAP_PRIVATE | MAP_ANONYMOUS });
}

/** Pages of memory, at an address. */
export const mapping = (address: bigint, at: number | bigint, pages = 1): DmaMapping => ({
  iova: iova(at),
  address,
  size: pages * PAGE,
  access: "read-write",
});

/** An address space with a device behind the first SMMU, and 8 pages of memory. */
export async function withDevice(options = {}) {
  const rig = await IommufdRig.open(options);
  await rig.attached(FIRST);
  return { rig, ioas: rig.ioas, address: memory(rig, 8) };
}

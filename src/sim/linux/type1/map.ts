import { dmaMap, VFIO_DMA_MAP_FLAG } from "../../../abi/vfio-container.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { readStruct } from "../files/user-argument.js";
import { refuse } from "../refusal.js";
import { pinAndMap } from "./pinning.js";
import { findDma, smallestPage, type Type1State, wrapErrno, wraps } from "./state.js";

const { READ, WRITE, VADDR } = VFIO_DMA_MAP_FLAG;

/** VFIO_IOMMU_MAP_DMA (vfio_iommu_type1.c, vfio_iommu_type1_map_dma and vfio_dma_do_map), its checks in the kernel's order. */
export function mapDma(state: Type1State, argument: IoctlArgument): number {
  const { argsz, flags, vaddr, iova, size } = readStruct(dmaMap, argument);
  const known = state.kernel.profile.updateVaddr ? READ | WRITE | VADDR : READ | WRITE;
  if (argsz < dmaMap.size || (flags & ~known) !== 0) refuse("EINVAL");
  if (size === 0n) refuse("EINVAL");
  if (wraps(iova, size) || wraps(vaddr, size)) refuse(wrapErrno(state));
  const access = flags & (READ | WRITE);
  const newAddress = (flags & VADDR) !== 0;
  if (newAddress === (access !== 0)) refuse("EINVAL");
  if ((size | iova | vaddr) % smallestPage(state) !== 0n) refuse("EINVAL");
  if (newAddress) return updateVaddr(state, iova, size, vaddr);
  if (findDma(state, iova, size) !== undefined) refuse("EEXIST");
  if (state.available === 0) refuse("ENOSPC");
  if (!state.ranges.contains(iova, iova + size - 1n)) refuse("EINVAL");
  if (state.dirtyTracking && size / smallestPage(state) > 2n ** 31n - 1n) refuse("EINVAL");
  addDma(state, Number(iova), Number(size), Number(vaddr), access);
  return 0;
}

function addDma(state: Type1State, iova: number, size: number, vaddr: number, access: number): void {
  const protection = { read: (access & READ) !== 0, write: (access & WRITE) !== 0 };
  const dma = pinAndMap(state, { iova, size, vaddr, protection });
  state.dmas.insert(iova, iova + size, dma);
  state.available -= 1;
}

/** The other half of an UNMAP with VADDR: the memory is somewhere else now. */
function updateVaddr(state: Type1State, iova: bigint, size: bigint, vaddr: bigint): number {
  const dma = findDma(state, iova, size) ?? refuse("ENOENT");
  if (!dma.vaddrInvalid || BigInt(dma.iova) !== iova || BigInt(dma.size) !== size) refuse("EINVAL");
  dma.vaddr = Number(vaddr);
  dma.vaddrInvalid = false;
  state.vaddrInvalid -= 1;
  return 0;
}

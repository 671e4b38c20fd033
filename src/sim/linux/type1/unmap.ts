import type { Decoded } from "../../../abi/codec.js";
import { bitmap, dmaUnmap, VFIO_DMA_UNMAP_FLAG } from "../../../abi/vfio-container.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { readStruct, userBytes } from "../files/user-argument.js";
import { refuse } from "../refusal.js";
import { checkBitmap, reportDirty } from "./bitmap.js";
import { dropDma } from "./pinning.js";
import { type Dma, smallestPage, type Type1State, wrapErrno, wraps } from "./state.js";

const { GET_DIRTY_BITMAP, ALL, VADDR } = VFIO_DMA_UNMAP_FLAG;

type Request = Decoded<typeof dmaUnmap>;

/** VFIO_IOMMU_UNMAP_DMA (vfio_iommu_type1_unmap_dma and vfio_dma_do_unmap). `size` is written back only on success. */
export function unmapDma(state: Type1State, argument: IoctlArgument): number {
  const request = readStruct(dmaUnmap, argument);
  const { argsz, flags } = request;
  const known = state.kernel.profile.updateVaddr ? GET_DIRTY_BITMAP | ALL | VADDR : GET_DIRTY_BITMAP;
  if (argsz < dmaUnmap.size || (flags & ~known) !== 0) refuse("EINVAL");
  if ((flags & GET_DIRTY_BITMAP) !== 0 && (flags & (ALL | VADDR)) !== 0) refuse("EINVAL");
  const dirty = (flags & GET_DIRTY_BITMAP) === 0 ? undefined : readBitmap(request, argument);
  checkRange(state, request);
  if (dirty !== undefined && (!state.dirtyTracking || dirty.pgsize !== smallestPage(state))) refuse("EINVAL");
  const unmapped = walk(state, request, dirty);
  dmaUnmap.patch(userBytes(argument), 0, { size: unmapped });
  return 0;
}

function readBitmap({ argsz, size }: Request, argument: IoctlArgument): Decoded<typeof bitmap> {
  if (argsz < dmaUnmap.size + bitmap.size) refuse("EINVAL");
  const bytes = userBytes(argument);
  if (bytes.length < dmaUnmap.size + bitmap.size) refuse("EFAULT");
  const dirty = bitmap.decode(bytes, dmaUnmap.size);
  checkBitmap(dirty, size);
  return dirty;
}

function checkRange(state: Type1State, { flags, iova, size }: Request): void {
  const page = smallestPage(state);
  if (iova % page !== 0n) refuse("EINVAL");
  if ((flags & ALL) !== 0) {
    if (iova !== 0n || size !== 0n) refuse("EINVAL");
    return;
  }
  if (size === 0n || size % page !== 0n) refuse("EINVAL");
  if (wraps(iova, size)) refuse(wrapErrno(state));
  if (state.v2 && bisects(state, Number(iova), Number(iova + size))) refuse("EINVAL");
}

/** Whether a mapping reaches over either end of [start, end). */
export function bisects({ dmas }: Type1State, start: number, end: number): boolean {
  const first = dmas.at(start);
  const last = dmas.at(end - 1);
  return (first !== undefined && first.start !== start) || (last !== undefined && last.end !== end);
}

function walk(state: Type1State, request: Request, dirty: Decoded<typeof bitmap> | undefined): number {
  const start = Number(request.iova);
  const end = (request.flags & ALL) !== 0 ? Number.POSITIVE_INFINITY : start + Number(request.size);
  const dmas = affected(state, start, end);
  if ((request.flags & VADDR) !== 0) invalidate(state, dmas);
  for (const dma of (request.flags & VADDR) !== 0 ? [] : dmas) {
    if (dirty !== undefined) reportDirty(state, dirty, dma, start);
    dropDma(state, dma);
  }
  return dmas.reduce((bytes, { size }) => bytes + size, 0);
}

/** Version 1 stops at a mapping that begins before the range, and takes one whose beginning is inside whole. */
function affected(state: Type1State, start: number, end: number): readonly Dma[] {
  const dmas = state.dmas.overlapping(start, end).map(({ value }) => value);
  const beginsBefore = dmas[0] !== undefined && dmas[0].iova < start;
  return !state.v2 && beginsBefore ? [] : dmas;
}

function invalidate(state: Type1State, dmas: readonly Dma[]): void {
  if (dmas.some(({ vaddrInvalid }) => vaddrInvalid)) refuse("EINVAL");
  for (const dma of dmas) dma.vaddrInvalid = true;
  state.vaddrInvalid += dmas.length;
}

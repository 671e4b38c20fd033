import type { Decoded } from "../../../abi/codec.js";
import { dirtyBitmap, dirtyBitmapGet, VFIO_IOMMU_DIRTY_PAGES_FLAG } from "../../../abi/vfio-container.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { readStruct, userBytes } from "../files/user-argument.js";
import { refuse } from "../refusal.js";
import { checkBitmap, reportDirty } from "./bitmap.js";
import { smallestPage, type Type1State, wrapErrno, wraps } from "./state.js";
import { bisects } from "./unmap.js";

const { START, STOP, GET_BITMAP } = VFIO_IOMMU_DIRTY_PAGES_FLAG;
/** vfio_iommu_type1.c, DIRTY_BITMAP_PAGES_MAX. */
const MOST_PAGES = 2n ** 31n - 1n;

/** VFIO_IOMMU_DIRTY_PAGES (vfio_iommu_type1_dirty_pages). */
export function dirtyPages(state: Type1State, argument: IoctlArgument): number {
  if (!state.v2) refuse("EACCES");
  const { argsz, flags } = readStruct(dirtyBitmap, argument);
  if (argsz < dirtyBitmap.size || (flags & ~(START | STOP | GET_BITMAP)) !== 0) refuse("EINVAL");
  switch (flags) {
    case START:
      return start(state);
    case STOP:
      state.dirtyTracking = false;
      return 0;
    case GET_BITMAP:
      return get(state, argsz, argument);
    default:
      return refuse("EINVAL");
  }
}

function start(state: Type1State): number {
  const page = smallestPage(state);
  for (const { value } of state.dmas) if (BigInt(value.size) / page > MOST_PAGES) refuse("EINVAL");
  state.dirtyTracking = true;
  return 0;
}

function get(state: Type1State, argsz: number, argument: IoctlArgument): number {
  if (argsz < dirtyBitmap.size + dirtyBitmapGet.size) refuse("EINVAL");
  const bytes = userBytes(argument);
  if (bytes.length < dirtyBitmap.size + dirtyBitmapGet.size) refuse("EFAULT");
  const request = dirtyBitmapGet.decode(bytes, dirtyBitmap.size);
  checkRequest(state, request);
  const base = Number(request.iova);
  const end = base + Number(request.size);
  if (bisects(state, base, end)) refuse("EINVAL");
  for (const { value } of state.dmas.overlapping(base, end)) reportDirty(state, request.bitmap, value, base);
  return 0;
}

function checkRequest(state: Type1State, { iova, size, bitmap }: Decoded<typeof dirtyBitmapGet>): void {
  const page = smallestPage(state);
  if (size === 0n) refuse("EINVAL");
  if (wraps(iova, size)) refuse(wrapErrno(state));
  checkBitmap(bitmap, size);
  if (bitmap.pgsize !== page || iova % page !== 0n || size % page !== 0n) refuse("EINVAL");
  if (!state.dirtyTracking) refuse("EINVAL");
}

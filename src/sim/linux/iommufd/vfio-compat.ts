import { capabilityHeader } from "../../../abi/capability.js";
import {
  dmaMap,
  dmaUnmap,
  VFIO_API_VERSION,
  VFIO_CHECK_EXTENSION,
  VFIO_DMA_MAP_FLAG,
  VFIO_DMA_UNMAP_FLAG,
  VFIO_EXTENSION,
  VFIO_GET_API_VERSION,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  VFIO_SET_IOMMU,
} from "../../../abi/vfio-container.js";
import {
  dmaAvailCapability,
  iovaRange,
  iovaRangeCapability,
  type1Info,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_INFO,
  VFIO_IOMMU_TYPE1_INFO,
} from "../../../abi/vfio-container-info.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { copyOut, readStruct, userBytes } from "../files/user-argument.js";
import { Refusal, refuse } from "../refusal.js";
import type { IommufdContext } from "./context.js";
import type { Ioas } from "./ioas.js";
import { mapUserMemory, spanOf, unmapAll } from "./ioas-calls.js";
import type { IovaSpan } from "./iova-rules.js";

/** VFIO's container calls, of an iommufd: they work on the IOAS that IOMMU_VFIO_IOAS names (drivers/iommu/iommufd/vfio_compat.c). */
export function vfioCompatIoctl(context: IommufdContext, request: number, argument: IoctlArgument): number {
  switch (request) {
    case VFIO_GET_API_VERSION.request:
      return VFIO_API_VERSION;
    case VFIO_CHECK_EXTENSION.request:
      return checkExtension(context, Number(argument));
    case VFIO_SET_IOMMU.request:
      return setIommu(context, Number(argument));
    case VFIO_IOMMU_GET_INFO.request:
      return getInfo(context, argument);
    case VFIO_IOMMU_MAP_DMA.request:
      return mapDma(context, argument);
    case VFIO_IOMMU_UNMAP_DMA.request:
      return unmapDma(context, argument);
    default:
      return refuse("ENOTTY");
  }
}

function ioasOf(context: IommufdContext): Ioas {
  return context.compatibleIoas ?? refuse("ENODEV");
}

function checkExtension(context: IommufdContext, extension: number): number {
  switch (extension) {
    case VFIO_EXTENSION.TYPE1_IOMMU:
    case VFIO_EXTENSION.TYPE1v2_IOMMU:
    case VFIO_EXTENSION.UNMAP_ALL:
      return 1;
    // Whether the kernel is built with it (CONFIG_VFIO_NOIOMMU): this one is, see /sys/module/vfio.
    case VFIO_EXTENSION.NOIOMMU_IOMMU:
      return 1;
    case VFIO_EXTENSION.DMA_CC_IOMMU:
      return ioasOf(context).domains.every(({ enforcesCoherency }) => enforcesCoherency) ? 1 : 0;
    default:
      return 0;
  }
}

function setIommu(context: IommufdContext, type: number): number {
  if (type !== VFIO_EXTENSION.TYPE1_IOMMU && type !== VFIO_EXTENSION.TYPE1v2_IOMMU) refuse("EINVAL");
  const ioas = ioasOf(context);
  // Version 1 may unmap parts of mappings, which takes pages that can be unmapped one by one.
  if (type === VFIO_EXTENSION.TYPE1_IOMMU) ioas.largePages = false;
  return 0;
}

/** Unlike type1, argsz is always overwritten, and capabilities are written as far as there is room. */
function getInfo(context: IommufdContext, argument: IoctlArgument): number {
  const least = type1Info.endOf("iova_pgsizes");
  const { argsz } = readStruct(type1Info, argument, least);
  if (argsz < least) refuse("EINVAL");
  const ioas = ioasOf(context);
  let total = type1Info.size;
  let last: number | undefined;
  for (const fill of [fillAvailable, fillRanges]) {
    const size = fill(ioas, { argument, at: total, room: Math.max(0, argsz - total) });
    if (last !== undefined && argsz >= total) capabilityHeader.patch(userBytes(argument), last, { next: total });
    last = total;
    // Each begins on 8 bytes.
    total += Math.ceil(size / 8) * 8;
  }
  const info = type1Info.encode({
    argsz: total,
    flags: VFIO_IOMMU_INFO.PGSIZES | VFIO_IOMMU_INFO.CAPS,
    iova_pgsizes: pageSizes(ioas, context.kernel.physical.pageSize),
    cap_offset: argsz >= total ? type1Info.size : 0,
  });
  copyOut(argument, info.subarray(0, Math.min(argsz, type1Info.size)));
  return 0;
}

/** Where a capability goes. */
interface CapabilityRoom {
  readonly argument: IoctlArgument;
  /** Bytes from the start of the caller's struct. */
  readonly at: number;
  /** Bytes that the caller has left there. */
  readonly room: number;
}

const headerOf = (id: number) => ({ id, version: 1, next: 0 });

/** iommufd_fill_cap_dma_avail. @returns bytes that it takes */
function fillAvailable(_: Ioas, { argument, at, room }: CapabilityRoom): number {
  const header = headerOf(VFIO_IOMMU_TYPE1_INFO.DMA_AVAIL);
  const bytes = dmaAvailCapability.encode({ header, avail: 0xffff_ffff });
  if (room >= bytes.length) copyOut(argument, bytes, at);
  return bytes.length;
}

/** iommufd_fill_cap_iova: ranges are written one by one as far as they fit, the header in front of them only if all do. */
function fillRanges({ rules }: Ioas, { argument, at, room }: CapabilityRoom): number {
  let size = iovaRangeCapability.size;
  const holes = rules.holes();
  for (const { start, last } of holes) {
    const range = iovaRange.encode({ start, end: last });
    if (room >= size + range.length) copyOut(argument, range, at + size);
    size += range.length;
  }
  const header = headerOf(VFIO_IOMMU_TYPE1_INFO.CAP_IOVA_RANGE);
  if (room >= size) copyOut(argument, iovaRangeCapability.encode({ header, nr_iovas: holes.length }), at);
  return size;
}

/** iommufd_get_pagesizes. */
function pageSizes({ domains, alignment }: Ioas, pageSize: number): bigint {
  const page = BigInt(pageSize);
  const common = domains.reduce((bitmap, domain) => bitmap & domain.pageSizes, 2n ** 64n - 1n);
  const small = common & (page - 1n);
  const bitmap = small === 0n ? common : (common - small) | page;
  return bitmap > BigInt(alignment) ? bitmap : BigInt(alignment);
}

function mapDma(context: IommufdContext, argument: IoctlArgument): number {
  const { argsz, flags, vaddr, iova, size } = readStruct(dmaMap, argument);
  const { READ, WRITE } = VFIO_DMA_MAP_FLAG;
  if (argsz < dmaMap.size || (flags & ~(READ | WRITE)) !== 0) refuse("EINVAL");
  const ioas = ioasOf(context);
  const protection = { read: (flags & READ) !== 0, write: (flags & WRITE) !== 0 };
  mapUserMemory(context, ioas, { address: vaddr, length: size, wanted: iova, protection });
  return 0;
}

/** Nothing to unmap is no error; a mapping that reaches out of the range is. `size` is written either way. */
function unmapDma(context: IommufdContext, argument: IoctlArgument): number {
  const { argsz, flags, iova, size } = readStruct(dmaUnmap, argument);
  if (argsz < dmaUnmap.size || (flags & ~VFIO_DMA_UNMAP_FLAG.ALL) !== 0) refuse("EINVAL");
  const ioas = ioasOf(context);
  if ((flags & VFIO_DMA_UNMAP_FLAG.ALL) !== 0) {
    if (iova !== 0n || size !== 0n) refuse("EINVAL");
    tellSize(argument, unmapAll(ioas));
    return 0;
  }
  if (!ioas.largePages) cutAround(ioas, iova, size);
  let unmapped = 0n;
  try {
    unmapRange(ioas, spanOf(iova, size), (bytes) => {
      unmapped += BigInt(bytes);
    });
  } catch (error) {
    if (error instanceof Refusal) tellSize(argument, unmapped);
    throw error;
  }
  tellSize(argument, unmapped);
  return 0;
}

/** Version 1: the mappings that reach out of the range are made two, at its end and then at its start; in 64 bits, as in C. */
function cutAround(ioas: Ioas, iova: bigint, size: bigint): void {
  ioas.cut(BigInt.asUintN(64, iova + size));
  if (iova !== 0n) ioas.cut(iova);
}

function unmapRange(ioas: Ioas, span: IovaSpan, done: (bytes: number) => void): void {
  const isEmpty = ioas.areas.overlapping(Number(span.start), Number(span.last) + 1).length === 0;
  if (!isEmpty) ioas.unmap(span, done);
}

function tellSize(argument: IoctlArgument, size: bigint): void {
  dmaUnmap.patch(userBytes(argument), 0, { size });
}

import { capabilityHeader } from "../../../abi/capability.js";
import { encodeArray } from "../../../abi/codec.js";
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
  for (const capability of capabilities(ioas)) {
    if (last !== undefined && argsz >= total) capabilityHeader.patch(userBytes(argument), last, { next: total });
    if (argsz >= total + capability.length) copyOut(argument, capability, total);
    last = total;
    total += capability.length;
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

function capabilities(ioas: Ioas): readonly Uint8Array[] {
  const header = (id: number) => ({ id, version: 1, next: 0 });
  const available = dmaAvailCapability.encode({
    header: header(VFIO_IOMMU_TYPE1_INFO.DMA_AVAIL),
    avail: 0xffff_ffff,
  });
  const ranges = ioas.rules.holes().map(({ start, last }) => ({ start, end: last }));
  const fields = { header: header(VFIO_IOMMU_TYPE1_INFO.CAP_IOVA_RANGE), nr_iovas: ranges.length };
  const allowed = iovaRangeCapability.encode(fields, encodeArray(iovaRange, ranges));
  // Each begins on 8 bytes.
  return [available, allowed].map((bytes) => {
    const padded = new Uint8Array(Math.ceil(bytes.length / 8) * 8);
    padded.set(bytes);
    return padded;
  });
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
  const span = spanOf(iova, size);
  if (!ioas.largePages) for (const at of [span.last + 1n, span.start]) ioas.cut(at);
  let unmapped = 0n;
  try {
    if (ioas.areas.overlapping(Number(span.start), Number(span.last) + 1).length > 0) {
      ioas.unmap(span, (bytes) => {
        unmapped += BigInt(bytes);
      });
    }
  } catch (error) {
    if (error instanceof Refusal) tellSize(argument, unmapped);
    throw error;
  }
  tellSize(argument, unmapped);
  return 0;
}

function tellSize(argument: IoctlArgument, size: bigint): void {
  dmaUnmap.patch(userBytes(argument), 0, { size });
}

import { encodeArray } from "../../../abi/codec.js";
import {
  IOMMU_IOAS_ALLOC,
  IOMMU_IOAS_ALLOW_IOVAS,
  IOMMU_IOAS_CHANGE_PROCESS,
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_IOVA_RANGES,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_MAP_FILE,
  IOMMU_IOAS_MAP_FLAG,
  IOMMU_IOAS_UNMAP,
  ioasAlloc,
  ioasAllowIovas,
  ioasChangeProcess,
  ioasCopy,
  ioasIovaRange,
  ioasIovaRanges,
  ioasMap,
  ioasMapFile,
  ioasUnmap,
} from "../../../abi/iommufd-ioas.js";
import type { PageSource } from "../files/page-source.js";
import type { DmaProtection } from "../iommu/iommu.js";
import { refuse } from "../refusal.js";
import { exactly } from "./area.js";
import type { IommufdContext } from "./context.js";
import type { Ioas } from "./ioas.js";
import { command, type IommufdCall } from "./ioctl-table.js";
import { type IovaSpan, LAST_IOVA } from "./iova-rules.js";
import { UserPages } from "./user-pages.js";

const { FIXED_IOVA, WRITEABLE, READABLE } = IOMMU_IOAS_MAP_FLAG;

/** The calls on I/O address spaces (drivers/iommu/iommufd/ioas.c). */
export const ioasCalls: readonly IommufdCall[] = [
  command(IOMMU_IOAS_ALLOC, ioasAlloc, "out_ioas_id", ({ context, request, respond }) => {
    if (request.flags !== 0) refuse("EOPNOTSUPP");
    respond({ out_ioas_id: context.newIoas().id });
  }),

  command(IOMMU_IOAS_IOVA_RANGES, ioasIovaRanges, "out_iova_alignment", ({ context, request, respond }) => {
    if (request.__reserved !== 0) refuse("EOPNOTSUPP");
    const ioas = context.objects.ioas(request.ioas_id);
    const holes = ioas.rules.holes();
    const told = encodeArray(ioasIovaRange, holes.slice(0, request.num_iovas));
    if (told.length > 0) context.kernel.process.memory.write(Number(request.allowed_iovas), told);
    respond({ num_iovas: holes.length, out_iova_alignment: ioas.alignment });
    if (holes.length > request.num_iovas) refuse("EMSGSIZE");
  }),

  command(IOMMU_IOAS_ALLOW_IOVAS, ioasAllowIovas, "allowed_iovas", ({ context, request }) => {
    if (request.__reserved !== 0) refuse("EOPNOTSUPP");
    const ioas = context.objects.ioas(request.ioas_id);
    ioas.rules.allow(readSpans(context, Number(request.allowed_iovas), request.num_iovas));
  }),

  command(IOMMU_IOAS_MAP, ioasMap, "iova", ({ context, request, respond }) => {
    const { flags, iova, length, user_va: address } = request;
    if (request.__reserved !== 0) refuse("EOPNOTSUPP");
    const protection = protectionOf(flags, iova, length);
    const ioas = context.objects.ioas(request.ioas_id);
    const wanted = (flags & FIXED_IOVA) === 0 ? undefined : iova;
    respond({ iova: mapUserMemory(context, ioas, { address, length, wanted, protection }) });
  }),

  command(IOMMU_IOAS_MAP_FILE, ioasMapFile, "iova", ({ context, request, respond }) => {
    const { flags, iova, length, start, fd } = request;
    const protection = protectionOf(flags, iova, length);
    const ioas = context.objects.ioas(request.ioas_id);
    const wanted = (flags & FIXED_IOVA) === 0 ? undefined : iova;
    respond({ iova: mapFile(context, ioas, { fd, start, length, wanted, protection }) });
  }),

  command(IOMMU_IOAS_CHANGE_PROCESS, ioasChangeProcess, "__reserved", ({ context, request }) => {
    if (request.__reserved !== 0) refuse("EOPNOTSUPP");
    // There is one process, whose the charges are already.
    const ioases = context.objects.all.filter((object) => object.kind === "ioas");
    for (const { areas } of ioases) for (const { value } of areas) if (!value.pages.isFile) refuse("EINVAL");
  }),

  command(IOMMU_IOAS_COPY, ioasCopy, "src_iova", ({ context, request, respond }) => {
    const { flags, length, src_iova: from, dst_iova: to } = request;
    const protection = protectionOf(flags, length, from, to);
    const pieces = context.objects.ioas(request.src_ioas_id).pieces(from, length);
    const target = context.objects.ioas(request.dst_ioas_id);
    respond({ dst_iova: target.map(pieces, (flags & FIXED_IOVA) === 0 ? undefined : to, protection) });
  }),

  command(IOMMU_IOAS_UNMAP, ioasUnmap, "length", ({ context, request, respond }) => {
    const ioas = context.objects.ioas(request.ioas_id);
    const { iova, length } = request;
    if (iova === 0n && length === LAST_IOVA) {
      respond({ length: unmapAll(ioas) });
      return;
    }
    if (iova >= LAST_IOVA || length >= LAST_IOVA) refuse("EOVERFLOW");
    let unmapped = 0n;
    ioas.unmap(spanOf(iova, length), (bytes) => {
      unmapped += BigInt(bytes);
    });
    respond({ length: unmapped });
  }),
];

/** What a program wants mapped. */
export interface UserMapping {
  /** In the process. */
  readonly address: bigint;
  readonly length: bigint;
  /** Undefined: where the kernel likes. */
  readonly wanted: bigint | undefined;
  readonly protection: DmaProtection;
}

/** A part of a file that a program wants mapped. */
export interface WantedFile extends Omit<UserMapping, "address"> {
  readonly fd: number;
  /** Bytes into the file. */
  readonly start: bigint;
}

/** iopt_map_user_pages. @returns where */
export function mapUserMemory(context: IommufdContext, ioas: Ioas, wish: UserMapping): bigint {
  const { address, length } = wish;
  if (address + length > LAST_IOVA) refuse("EOVERFLOW");
  if (length === 0n) refuse("EINVAL");
  const { memory } = context.kernel.process;
  return mapPages(context, ioas, wish, exactly(address), (start) => ({
    start,
    isFile: false,
    offersRegisters: false,
    touch: (from, to) => memory.touch(start + from, start + to, wish.protection.write),
    released: () => {},
  }));
}

/** iopt_map_file_pages. @returns where */
function mapFile(context: IommufdContext, ioas: Ioas, wish: WantedFile): bigint {
  const { fd, start, length } = wish;
  if (length === 0n) refuse("EINVAL");
  if (start + length - 1n > LAST_IOVA) refuse("EOVERFLOW");
  const file = context.kernel.process.fds.get(fd);
  return mapPages(context, ioas, wish, exactly(start), (page, bytes) => file.pageSource(page, bytes));
}

/** iopt_map_common. */
function mapPages(
  { kernel, accounting }: IommufdContext,
  ioas: Ioas,
  { length, wanted, protection }: Pick<UserMapping, "length" | "wanted" | "protection">,
  first: number,
  sourceAt: (page: number, length: number) => PageSource,
): bigint {
  const { pageSize } = kernel.physical;
  const offset = first % pageSize;
  const bytes = exactly(length);
  const source = sourceAt(first - offset, Math.ceil((offset + bytes) / pageSize) * pageSize);
  const pages = new UserPages(source, protection.write, kernel, accounting);
  try {
    return ioas.map([{ pages, offset, length: bytes }], wanted, protection);
  } catch (error) {
    pages.releaseUnused();
    throw error;
  }
}

/** Unmaps everything; nothing to unmap is no error then (iopt_unmap_all). @returns bytes */
export function unmapAll(ioas: Ioas): bigint {
  let unmapped = 0n;
  if (ioas.areas.size === 0) return unmapped;
  ioas.unmap({ start: 0n, last: LAST_IOVA }, (bytes) => {
    unmapped += BigInt(bytes);
  });
  return unmapped;
}

/** The range that a call names. */
export function spanOf(iova: bigint, length: bigint): IovaSpan {
  if (length === 0n) refuse("EINVAL");
  const last = iova + length - 1n;
  return last > LAST_IOVA ? refuse("EOVERFLOW") : { start: iova, last };
}

function protectionOf(flags: number, ...values: readonly bigint[]): DmaProtection {
  if ((flags & ~(FIXED_IOVA | WRITEABLE | READABLE)) !== 0) refuse("EOPNOTSUPP");
  if (values.some((value) => value >= LAST_IOVA)) refuse("EOVERFLOW");
  if ((flags & (WRITEABLE | READABLE)) === 0) refuse("EINVAL");
  return { read: (flags & READABLE) !== 0, write: (flags & WRITEABLE) !== 0 };
}

function readSpans({ kernel }: IommufdContext, address: number, count: number): readonly IovaSpan[] {
  const { size } = ioasIovaRange;
  return Array.from({ length: count }, (_, index) =>
    ioasIovaRange.decode(kernel.process.memory.read(address + index * size, size)),
  );
}

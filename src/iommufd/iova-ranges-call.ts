import { decodeArray, encodeArray } from "../abi/codec.js";
import { errno } from "../abi/errno.js";
import {
  IOMMU_IOAS_ALLOW_IOVAS,
  IOMMU_IOAS_IOVA_RANGES,
  ioasAllowIovas,
  ioasIovaRange,
  ioasIovaRanges,
} from "../abi/iommufd-ioas.js";
import { IospanError } from "../errors.js";
import { hex, type IovaRange, iova } from "../iova.js";
import { SyscallError } from "../syscalls/syscalls.js";
import { type About, malformed, unexplained } from "../vfio/refusal.js";
import { withAnswerMemory } from "./answer-memory.js";
import { allowRefused } from "./ioas-refusals.js";
import type { Iommufd } from "./iommufd.js";

/** What an I/O address space says of its addresses. */
export interface IovaRules {
  readonly ranges: readonly IovaRange[];
  /** Bytes that every mapping's IOVA, address and size are a multiple of. */
  readonly alignment: number;
}

/** A page of ranges is 256 of them; no real machine has more, and a wrong answer must not fill the memory. */
const MOST_RANGES = 2 ** 16;

/**
 * IOMMU_IOAS_IOVA_RANGES: a page of ranges is room enough, else it is asked again.
 * @throws IospanError `ERR_IOSPAN_MALFORMED_ANSWER` when the kernel's answer makes no sense.
 */
export function askIovaRules(iommufd: Iommufd, ioas: number, about: About): IovaRules {
  let room = iommufd.syscalls.pageSize / ioasIovaRange.size;
  for (;;) {
    const answer = askWithRoom(iommufd, ioas, room, about);
    if (typeof answer !== "number") return answer;
    if (answer <= room || answer > MOST_RANGES)
      throw malformed(`the kernel has ${answer} ranges of IOVAs to tell`, about);
    // Some more, should there be still more by then.
    room = Math.min(2 * answer, MOST_RANGES);
  }
}

/** IOMMU_IOAS_ALLOW_IOVAS: replaces the ranges that the kernel may choose from. */
export function allowIovas(iommufd: Iommufd, ioas: number, ranges: readonly IovaRange[], about: About): void {
  requireApart(ranges, about);
  withAnswerMemory(iommufd, Math.max(ranges.length, 1) * ioasIovaRange.size, about, (memory) => {
    const list = ranges.map(({ start, end }) => ({ start, last: end }));
    new Uint8Array(memory.buffer).set(encodeArray(ioasIovaRange, list));
    const fields = { ioas_id: ioas, num_iovas: ranges.length, allowed_iovas: memory.address };
    iommufd.ioctl(IOMMU_IOAS_ALLOW_IOVAS, ioasAllowIovas.encode(fields), (error) => allowRefused(error, about));
  });
}

/** @returns how many ranges there are where that is more than `room` for them */
function askWithRoom(iommufd: Iommufd, ioas: number, room: number, about: About): IovaRules | number {
  return withAnswerMemory(iommufd, room * ioasIovaRange.size, about, (memory) => {
    const bytes = ioasIovaRanges.encode({ ioas_id: ioas, num_iovas: room, allowed_iovas: memory.address });
    const complete = isComplete(iommufd, bytes, about);
    const { num_iovas: count, out_iova_alignment } = ioasIovaRanges.decode(bytes);
    if (!complete) return count;
    if (count > room) throw malformed(`the kernel has told ${count} ranges of IOVAs where ${room} have room`, about);
    const spans = decodeArray(ioasIovaRange, new Uint8Array(memory.buffer), 0, count);
    const ranges = spans.map(({ start, last }) => ({ start: iova(start), end: iova(last) }));
    return { ranges, alignment: alignmentOf(out_iova_alignment, about) };
  });
}

/** Whether the ranges had room. */
function isComplete({ syscalls, fd }: Iommufd, bytes: Uint8Array, about: About): boolean {
  try {
    syscalls.ioctl(fd, IOMMU_IOAS_IOVA_RANGES, bytes);
    return true;
  } catch (error) {
    if (error instanceof SyscallError && error.errno === errno.EMSGSIZE) return false;
    throw unexplained(error, "asking which IOVAs can be mapped", about);
  }
}

function alignmentOf(told: bigint, about: About): number {
  const alignment = Number(told);
  if (Number.isSafeInteger(alignment) && alignment >= 1) return alignment;
  throw malformed(`IOVAs are said to be multiples of ${told}`, about);
}

/** The kernel says EINVAL for either, without a word which (drivers/iommu/iommufd/ioas.c, iommufd_ioas_load_iovas). */
function requireApart(ranges: readonly IovaRange[], about: About): void {
  const ascending = [...ranges].sort((a, b) => (a.start < b.start ? -1 : 1));
  for (const [index, { start, end }] of ascending.entries()) {
    const before = ascending[index - 1];
    const text = `${hex(start)} to ${hex(end)}`;
    if (start >= end) throw invalidRange(`${text} is no range of two bytes or more`, about);
    if (before !== undefined && before.end >= start) throw invalidRange(`${text} overlaps another range`, about);
  }
}

function invalidRange(message: string, about: About): IospanError {
  const hint = "`end` is the last address inside; merge ranges that overlap";
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", message, { ...about, hint });
}

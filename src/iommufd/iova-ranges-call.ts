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
import { MappedMemory } from "../syscalls/mapped-memory.js";
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from "../syscalls/mmap-flags.js";
import { SyscallError } from "../syscalls/syscalls.js";
import { type About, malformed, unexplained } from "../vfio/refusal.js";
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

/** IOMMU_IOAS_IOVA_RANGES and ALLOW_IOVAS, which write and read ranges in memory that they are pointed to. */
export class IovaRangesCall {
  readonly #iommufd: Iommufd;
  readonly #ioas: number;
  #room: MappedMemory | undefined;

  constructor(iommufd: Iommufd, ioas: number) {
    this.#iommufd = iommufd;
    this.#ioas = ioas;
  }

  /** @throws IospanError `ERR_IOSPAN_MALFORMED_ANSWER` when the kernel's answer makes no sense. */
  ask(about: About): IovaRules {
    const { pageSize } = this.#iommufd.syscalls;
    return this.#ask(pageSize / ioasIovaRange.size, about);
  }

  /** Replaces the ranges that the kernel may choose from. */
  allow(ranges: readonly IovaRange[], about: About): void {
    requireApart(ranges, about);
    const memory = this.#roomFor(Math.max(ranges.length, 1), about);
    const list = ranges.map(({ start, end }) => ({ start, last: end }));
    new Uint8Array(memory.buffer).set(encodeArray(ioasIovaRange, list));
    const fields = { ioas_id: this.#ioas, num_iovas: ranges.length, allowed_iovas: memory.address };
    this.#iommufd.ioctl(IOMMU_IOAS_ALLOW_IOVAS, ioasAllowIovas.encode(fields), (error) => allowRefused(error, about));
  }

  /** Gives back the memory for the ranges. */
  release(): void {
    const room = this.#room;
    this.#room = undefined;
    room?.release();
  }

  /** With room for so many; again with more when they are too few. */
  #ask(room: number, about: About): IovaRules {
    const memory = this.#roomFor(room, about);
    const bytes = ioasIovaRanges.encode({ ioas_id: this.#ioas, num_iovas: room, allowed_iovas: memory.address });
    let complete = true;
    this.#iommufdCall(bytes, about, () => {
      complete = false;
    });
    const { num_iovas: count, out_iova_alignment } = ioasIovaRanges.decode(bytes);
    if (!complete && count > room && count <= MOST_RANGES) return this.#ask(roomOf(count), about);
    if (!complete || count > room) throw malformed(`the kernel has ${count} ranges of IOVAs to tell`, about);
    const alignment = Number(out_iova_alignment);
    if (!Number.isSafeInteger(alignment) || alignment < 1)
      throw malformed(`IOVAs are said to be multiples of ${out_iova_alignment}`, about);
    const spans = decodeArray(ioasIovaRange, new Uint8Array(memory.buffer), 0, count);
    return { ranges: spans.map(({ start, last }) => ({ start: iova(start), end: iova(last) })), alignment };
  }

  #iommufdCall(bytes: Uint8Array, about: About, tooMany: () => void): void {
    try {
      this.#iommufd.syscalls.ioctl(this.#iommufd.fd, IOMMU_IOAS_IOVA_RANGES, bytes);
    } catch (error) {
      if (!(error instanceof SyscallError) || error.errno !== errno.EMSGSIZE)
        throw unexplained(error, "asking which IOVAs can be mapped", about);
      tooMany();
    }
  }

  #roomFor(count: number, about: About): MappedMemory {
    const { syscalls } = this.#iommufd;
    const length = Math.ceil((count * ioasIovaRange.size) / syscalls.pageSize) * syscalls.pageSize;
    if (this.#room !== undefined && this.#room.length >= length) return this.#room;
    const request = { length, prot: PROT_READ | PROT_WRITE, flags: MAP_PRIVATE | MAP_ANONYMOUS };
    try {
      this.release();
      this.#room = MappedMemory.map(syscalls, request);
      return this.#room;
    } catch (error) {
      throw unexplained(error, "taking memory to ask the kernel with", about);
    }
  }
}

/** Some more, should there be still more by then. */
function roomOf(count: number): number {
  return Math.min(2 * count, MOST_RANGES);
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

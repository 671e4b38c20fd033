import {
  MADV_DONTFORK,
  MADV_HUGEPAGE,
  MADV_POPULATE_WRITE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_HUGE_SHIFT,
  MAP_HUGETLB,
  MAP_PRIVATE,
  MAP_SHARED,
  MFD_HUGE_SHIFT,
  MFD_HUGETLB,
} from "../../../syscalls/mmap-flags.js";
import type { Fd, MmapRequest } from "../../../syscalls/syscalls.js";
import type { PhysicalMemory } from "../../hw/physical-memory.js";
import { MemFd } from "../files/plain-files.js";
import type { Process } from "../process.js";
import { refuse } from "../refusal.js";
import type { Backing, Mapping } from "./address-space.js";
import type { HugePagePool } from "./huge-pages.js";
import { MemoryObject } from "./memory-object.js";

/** What changes nothing here: there is no fork, and huge pages are made wherever they fit. */
const ADVICE: readonly number[] = [MADV_DONTFORK, MADV_HUGEPAGE];

const HUGE_SIZE_MASK = 0x3f;
const DEFAULT_HUGE_PAGE = 2 ** 21;

/** mmap(2) and its relatives. */
export class MemoryCalls {
  readonly #physical: PhysicalMemory;
  readonly #pools: readonly HugePagePool[];

  constructor(physical: PhysicalMemory, pools: readonly HugePagePool[]) {
    this.#physical = physical;
    this.#pools = pools;
  }

  mmap(process: Process, request: MmapRequest): number {
    const { flags, prot, offset = 0n } = request;
    const { pageSize } = this.#physical;
    if (request.length <= 0 || offset % BigInt(pageSize) !== 0n) refuse("EINVAL");
    if ((flags & (MAP_SHARED | MAP_PRIVATE)) === 0) refuse("EINVAL");
    const pool = (flags & MAP_HUGETLB) === 0 ? undefined : this.#pool(flags >>> MAP_HUGE_SHIFT);
    const anonymousLength = roundUp(request.length, pool?.pageSize ?? pageSize);
    const isAnonymous = (flags & MAP_ANONYMOUS) !== 0;
    const backing = isAnonymous ? this.#anonymous(anonymousLength, pool) : openBacking(process, request, pageSize);
    const alignment = "memory" in backing ? backing.memory.pageSize : pageSize;
    const length = roundUp(request.length, alignment);
    const fixed = (flags & MAP_FIXED) === 0 ? undefined : Number(request.address ?? 0n);
    if (fixed !== undefined && fixed % alignment !== 0) refuse("EINVAL");
    const start = fixed ?? process.memory.findFree(length, alignment);
    if (!process.memory.canHold(start, length)) refuse("ENOMEM");
    requireWholeHugePages(process, start, start + length);
    if ("memory" in backing) backing.memory.reserve();
    const isFile = "memory" in backing && !isAnonymous;
    this.#replace(process, start, length, { backing, offset: isFile ? Number(offset) : 0, prot });
    return start;
  }

  munmap(process: Process, start: number, length: number): void {
    const { pageSize } = this.#physical;
    if (length <= 0 || start % pageSize !== 0) refuse("EINVAL");
    const end = start + roundUp(length, pageSize);
    requireWholeHugePages(process, start, end);
    const vacated = process.views.vacate(start, end);
    process.memory.remove(start, end);
    vacated();
  }

  /** Makes pages exist; accepts the advice that changes nothing here. */
  madvise(process: Process, start: number, length: number, advice: number): void {
    if (start % this.#physical.pageSize !== 0) refuse("EINVAL");
    if (advice !== MADV_POPULATE_WRITE && !ADVICE.includes(advice))
      refuse("ENOSYS", `madvise ${advice} is not simulated`);
    if (!process.memory.isMapped(start, start + length)) refuse("ENOMEM");
    if (advice === MADV_POPULATE_WRITE) for (const _ of process.memory.touch(start, start + length, true));
  }

  memfd(process: Process, name: string, flags: number, length: number): Fd {
    const pool = (flags & MFD_HUGETLB) === 0 ? undefined : this.#pool(flags >>> MFD_HUGE_SHIFT);
    if (length < 0 || length % (pool?.pageSize ?? 1) !== 0) refuse("EINVAL");
    const size = roundUp(length, pool?.pageSize ?? this.#physical.pageSize);
    const memory = new MemoryObject(this.#physical, size, { pool, isFile: true });
    return process.fds.install(new MemFd(name, memory, length, (backing) => process.memory.maps(backing)));
  }

  #anonymous(length: number, pool: HugePagePool | undefined): Backing {
    return { memory: new MemoryObject(this.#physical, length, { pool, isFile: false }) };
  }

  #pool(shift: number): HugePagePool {
    const exponent = shift & HUGE_SIZE_MASK;
    const pageSize = exponent === 0 ? DEFAULT_HUGE_PAGE : 2 ** exponent;
    return this.#pools.find((pool) => pool.pageSize === pageSize) ?? refuse("EINVAL");
  }

  #replace(process: Process, start: number, length: number, mapping: Mapping): void {
    const end = start + length;
    const vacated = process.views.vacate(start, end);
    process.memory.remove(start, end);
    process.memory.add(start, length, mapping);
    const { backing } = mapping;
    const takesOver =
      "memory" in backing && !backing.memory.isFile && backing.memory.pageSize === this.#physical.pageSize;
    vacated(takesOver ? backing.memory : undefined);
  }
}

function openBacking(process: Process, request: MmapRequest, pageSize: number): Backing {
  const { fd = -1, offset = 0n, prot, flags } = request;
  const length = roundUp(request.length, pageSize);
  return process.fds.get(fd).mmap({ offset, length, prot, shared: (flags & MAP_SHARED) !== 0 });
}

/** A huge page is unmapped whole or not at all. */
function requireWholeHugePages(process: Process, start: number, end: number): void {
  for (const { start: from, end: to, value } of process.memory.within(start, end)) {
    if (!("memory" in value.backing)) continue;
    const { pageSize } = value.backing.memory;
    if (from % pageSize !== 0 || to % pageSize !== 0) refuse("EINVAL");
  }
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

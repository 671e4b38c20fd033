import { errno } from "../abi/errno.js";
import { type ErrorCode, IospanError } from "../errors.js";
import type { Machine } from "../machine/machine.js";
import { readAttribute } from "../machine/sysfs.js";
import { MappedMemory } from "../syscalls/mapped-memory.js";
import {
  MADV_DONTFORK,
  MADV_HUGEPAGE,
  MADV_POPULATE_WRITE,
  MAP_ANONYMOUS,
  MAP_HUGE_SHIFT,
  MAP_HUGETLB,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  MFD_CLOEXEC,
  MFD_HUGE_SHIFT,
  MFD_HUGETLB,
  PROT_READ,
  PROT_WRITE,
} from "../syscalls/mmap-flags.js";
import { type Fd, factsOf, SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import { unexplained } from "../vfio/refusal.js";
import { byteCount } from "./byte-count.js";

/**
 * `try`: huge pages of 2 MiB where the kernel has some reserved, else ordinary pages placed so that the kernel can make
 * transparent huge pages of them. `2MiB`, `1GiB`: pages of that size or an error. `no`: ordinary pages.
 */
export const hugePageModes = ["no", "try", "2MiB", "1GiB"] as const;
/** One of {@link hugePageModes}. */
export type HugePages = (typeof hugePageModes)[number];

/** What {@link DmaMemory.allocate} makes memory of. */
export interface DmaMemoryOptions {
  /** `try` where absent. */
  readonly hugePages?: HugePages | undefined;
  /** `memfd` memory has a file descriptor ({@link DmaMemory.fd}) to share with other processes. `anonymous` where absent. */
  readonly backing?: "anonymous" | "memfd" | undefined;
  /** Bytes, a power of two: address and size become multiples of it. The page size where absent. */
  readonly alignment?: number | undefined;
}

type Backing = "anonymous" | "memfd";

interface Placement {
  readonly memory: MappedMemory;
  readonly pageSize: number;
  readonly fd: Fd | undefined;
}

const MIB = 2 ** 20;
const GIB = 2 ** 30;
/**
 * What address and size of memory are to be multiples of so that an IOMMU with pages of `granule` bytes can map it
 * (drivers/iommu/iommu.c, iommu_map: physical addresses must be aligned, too). Where the processor's pages are smaller, only
 * huge pages are physically contiguous.
 */
export function contiguousUnit(granule: number, { syscalls }: Machine, { hugePages }: DmaMemoryOptions): number {
  return granule > syscalls.pageSize && hugePages !== "no" ? Math.max(granule, 2 * MIB) : granule;
}

/** Memory up to this size is viewed as a whole, since every platform can. */
const PART = GIB;

/**
 * Page-aligned memory for devices to read and write. It stays where it is, is not copied on fork, and cannot be released
 * while a space has it mapped.
 */
export class DmaMemory implements Disposable {
  /** Where it is in this process; a multiple of {@link pageSize}. */
  readonly address: bigint;
  /** Bytes: what was asked for, rounded up to whole pages. */
  readonly size: number;
  /** Bytes of a page of the backing: 2 MiB or 1 GiB with huge pages, else the machine's page size. */
  readonly pageSize: number;
  readonly #placement: Placement;
  readonly #syscalls: Syscalls;
  #users = 0;

  private constructor(syscalls: Syscalls, placement: Placement) {
    this.#syscalls = syscalls;
    this.#placement = placement;
    this.address = placement.memory.address;
    this.size = placement.memory.length;
    this.pageSize = placement.pageSize;
  }

  /**
   * @param size bytes, more than 0; rounded up to whole pages.
   * @throws IospanError `ERR_IOSPAN_NO_MEMORY` when the kernel has none of the kind asked for.
   */
  static allocate(machine: Machine, size: number | bigint, options: DmaMemoryOptions = {}): DmaMemory {
    const { syscalls } = machine;
    const bytes = roundUp(byteCount(size, "size"), alignmentOf(syscalls, options));
    checkAvailable(syscalls, bytes);
    const placement = place(syscalls, bytes, options);
    return new DmaMemory(syscalls, placement);
  }

  /**
   * The memory itself, as the devices see it.
   * @throws IospanError `ERR_IOSPAN_RELEASED` after {@link release}, `ERR_IOSPAN_NOT_SUPPORTED` when it is larger than one
   * ArrayBuffer can be (4 GiB in Node 20): then {@link view} shows parts.
   */
  get bytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#placement.memory.buffer);
  }

  /**
   * A part of the memory, as the devices see it: for memory that is larger than one ArrayBuffer can be (4 GiB in Node 20).
   * @param offset bytes from the start. @param length bytes.
   * @throws IospanError `ERR_IOSPAN_RELEASED` after {@link release}, `ERR_IOSPAN_INVALID_ARGUMENT` beyond the memory.
   */
  view(offset: number, length: number): Uint8Array<ArrayBuffer> {
    const from = byteCount(offset, "offset", 0);
    if (from + byteCount(length, "length") > this.size) {
      throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${length} bytes from ${offset} reach beyond the memory`, {
        hint: `it has ${this.size} bytes`,
      });
    }
    const { memory } = this.#placement;
    return memory.length > PART
      ? new Uint8Array(memory.part(from, length))
      : new Uint8Array(memory.buffer, from, length);
  }

  /** The memfd behind it, from its first byte on, with `backing: "memfd"`. {@link release} closes it. */
  get fd(): Fd | undefined {
    return this.released ? undefined : this.#placement.fd;
  }

  get released(): boolean {
    return this.#placement.memory.released;
  }

  /** @internal @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for memory of another machine than the one it is to be mapped on. */
  requireOf({ syscalls }: Machine): void {
    const [own, theirs] = [this.#syscalls.kernel, syscalls.kernel];
    if (own === undefined || theirs === undefined || own === theirs) return;
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "the memory is another machine's", {
      hint: "DmaMemory.allocate(machine, size) with the machine that the space was opened on",
    });
  }

  /** @internal A mapping holds the memory: what a device may write to must not become something else. */
  retain(): void {
    if (this.released) {
      throw new IospanError("ERR_IOSPAN_RELEASED", "the memory has been released", { hint: "allocate it anew" });
    }
    this.#users += 1;
  }

  /** @internal */
  unretain(): void {
    this.#users -= 1;
  }

  /**
   * Gives the memory back; a second call does nothing. Views that are still held read zeros from now on.
   * @throws IospanError `ERR_IOSPAN_BUSY` while a space has it mapped.
   */
  release(): void {
    if (this.released) return;
    if (this.#users > 0) {
      throw new IospanError("ERR_IOSPAN_BUSY", `the memory is still mapped for devices (${this.#users} times)`, {
        hint: "unmap it first, or close the space: declare memory of yours before the space that maps it",
      });
    }
    try {
      try {
        this.#placement.memory.release();
      } finally {
        if (this.#placement.fd !== undefined) this.#syscalls.close(this.#placement.fd);
      }
    } catch (error) {
      throw unexplained(error, `releasing ${this.size} bytes of memory`);
    }
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

function roundUp(size: number, unit: number): number {
  return Math.ceil(size / unit) * unit;
}

/** Less than this is not worth a look. */
const SURELY_AVAILABLE = 64 * MIB;

/** All of the memory is populated and pinned, so what is not there would end processes, this one probably. */
function checkAvailable(syscalls: Syscalls, size: number): void {
  if (size < SURELY_AVAILABLE) return;
  const [, kib] = /^MemTotal:\s*(\d+) kB$/m.exec(readAttribute({ syscalls }, "/proc/meminfo") ?? "") ?? [];
  if (kib === undefined || size <= Number(kib) * 1024) return;
  const total = `${(Number(kib) / 2 ** 20).toFixed(1)} GiB`;
  throw new IospanError("ERR_IOSPAN_NO_MEMORY", `${size} bytes are more than the ${total} of memory the machine has`, {
    hint: "ask for less; sizes are in bytes",
  });
}

function alignmentOf({ pageSize }: Syscalls, { alignment = pageSize, hugePages }: DmaMemoryOptions): number {
  const most = hugePages === "2MiB" ? 2 * MIB : GIB;
  if (alignment >= 1 && alignment <= most && Number.isInteger(Math.log2(alignment)))
    return Math.max(alignment, pageSize);
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `an alignment of ${alignment} bytes`, {
    hint: `it must be a power of two up to ${most}`,
  });
}

function place(syscalls: Syscalls, size: number, options: DmaMemoryOptions): Placement {
  const backing = options.backing ?? "anonymous";
  const hugePages = options.hugePages ?? "try";
  const alignment = alignmentOf(syscalls, options);
  if (hugePages === "1GiB") return placeHuge(syscalls, size, GIB, backing);
  if (hugePages === "2MiB") return placeHuge(syscalls, size, 2 * MIB, backing);
  const wantsHuge = hugePages === "try" && size >= 2 * MIB;
  if (wantsHuge && alignment <= 2 * MIB) {
    try {
      return placeHuge(syscalls, size, 2 * MIB, backing);
    } catch (error) {
      // None reserved, or a kernel without them: ordinary pages do the same, slower.
      if (!(error instanceof IospanError)) throw error;
    }
  }
  return placeOrdinary(syscalls, size, backing, { alignment: Math.max(alignment, wantsHuge ? 2 * MIB : 0), wantsHuge });
}

function placeHuge(syscalls: Syscalls, size: number, pageSize: number, backing: Backing): Placement {
  const shift = Math.log2(pageSize);
  const length = roundUp(size, pageSize);
  const huge = { map: MAP_HUGETLB | (shift << MAP_HUGE_SHIFT), memfd: MFD_HUGETLB | (shift << MFD_HUGE_SHIFT) };
  try {
    // The kernel aligns huge pages by itself.
    return { ...mapBacking(syscalls, length, backing, huge, 0), pageSize };
  } catch (error) {
    throw noMemory(error, length, pageSize);
  }
}

function placeOrdinary(
  syscalls: Syscalls,
  size: number,
  backing: Backing,
  { alignment, wantsHuge }: { readonly alignment: number; readonly wantsHuge: boolean },
): Placement {
  const { pageSize } = syscalls;
  const length = roundUp(size, pageSize);
  try {
    const mapped = mapBacking(syscalls, length, backing, { map: 0, memfd: 0 }, alignment);
    if (wantsHuge) adviseHugePages(syscalls, mapped.memory);
    if (backing === "anonymous") populated(syscalls, mapped.memory);
    return { ...mapped, pageSize };
  } catch (error) {
    throw noMemory(error, length, pageSize);
  }
}

function adviseHugePages(syscalls: Syscalls, memory: MappedMemory): void {
  try {
    syscalls.madvise(memory.address, memory.length, MADV_HUGEPAGE);
  } catch {
    // A kernel without transparent huge pages answers EINVAL; nothing is lost but speed.
  }
}

/**
 * Gives every page a place of its own now. Up to Linux 6.1, mapping untouched private memory for devices that only read
 * pins the kernel's shared page of zeros, and what the process writes later goes elsewhere: the device never sees it.
 */
function populated(syscalls: Syscalls, memory: MappedMemory): void {
  try {
    populate(syscalls, memory);
  } catch (error) {
    memory.release();
    throw error;
  }
}

function populate(syscalls: Syscalls, memory: MappedMemory): void {
  try {
    syscalls.madvise(memory.address, memory.length, MADV_POPULATE_WRITE);
  } catch (error) {
    if (!(error instanceof SyscallError) || error.errno !== errno.EINVAL) throw error;
    // Before Linux 5.14: one write to each page does the same.
    for (let from = 0; from < memory.length; from += PART) {
      const length = Math.min(PART, memory.length - from);
      const bytes = new Uint8Array(memory.length > PART ? memory.part(from, length) : memory.buffer);
      for (let offset = 0; offset < bytes.length; offset += syscalls.pageSize) bytes[offset] = 0;
    }
  }
}

function mapBacking(
  syscalls: Syscalls,
  length: number,
  backing: Backing,
  extra: { readonly map: number; readonly memfd: number },
  alignment: number,
): Pick<Placement, "memory" | "fd"> {
  const prot = PROT_READ | PROT_WRITE;
  if (backing === "anonymous") {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | extra.map | (extra.map === 0 ? MAP_NORESERVE : 0);
    const memory = MappedMemory.mapAligned(syscalls, { length, prot, flags }, alignment);
    return { memory: guardedAgainstFork(syscalls, memory), fd: undefined };
  }
  const fd = syscalls.memfd("iospan", MFD_CLOEXEC | extra.memfd, length);
  try {
    return { memory: MappedMemory.mapAligned(syscalls, { length, prot, flags: MAP_SHARED, fd }, alignment), fd };
  } catch (error) {
    syscalls.close(fd);
    throw error;
  }
}

/**
 * After a fork, the parent's first write to a private page may give the parent a copy while the device keeps the
 * original (Linux before 5.12 does so even for pinned pages). A child without the mapping cannot cause that.
 */
function guardedAgainstFork(syscalls: Syscalls, memory: MappedMemory): MappedMemory {
  try {
    syscalls.madvise(memory.address, memory.length, MADV_DONTFORK);
    return memory;
  } catch (error) {
    memory.release();
    throw error;
  }
}

function noMemory(error: unknown, length: number, pageSize: number): unknown {
  if (!(error instanceof SyscallError)) return error;
  const kind = pageSize >= 2 * MIB ? `huge pages of ${pageSize / MIB} MiB` : "memory";
  const message = `no ${kind} for ${length} bytes: ${error.message}`;
  const code: ErrorCode = [errno.ENOMEM, errno.EINVAL, errno.EAGAIN].some((known) => known === error.errno)
    ? "ERR_IOSPAN_NO_MEMORY"
    : "ERR_IOSPAN_SYSCALL";
  const pages = length / pageSize;
  const hint =
    pageSize >= 2 * MIB
      ? `reserve them: echo ${pages} > /sys/kernel/mm/hugepages/hugepages-${pageSize / 1024}kB/nr_hugepages`
      : "free memory, or raise the limits on address space (ulimit -v) and mappings (vm.max_map_count)";
  return new IospanError(code, message, { ...factsOf(error), hint });
}

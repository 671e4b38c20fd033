import { IospanError } from "../errors.js";
import { hex } from "../iova.js";
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from "./mmap-flags.js";
import { type MmapRequest, SyscallError, type Syscalls } from "./syscalls.js";

interface Span {
  readonly syscalls: Syscalls;
  readonly address: bigint;
  readonly length: number;
  /** Views of it that can still be reached. */
  views: number;
}

/**
 * An ArrayBuffer over mmapped memory cannot be taken back from JavaScript that still holds it, and touching it after
 * munmap would end the process. So a released span keeps its addresses, with anonymous memory behind them, until the
 * garbage collector says that no view is left.
 */
const unreachable = new FinalizationRegistry<Span>((span) => {
  span.views -= 1;
  if (span.views > 0) return;
  // Nobody is left to tell if it fails; the addresses stay taken and hold no memory.
  quietly(() => span.syscalls.munmap(span.address, span.length));
});

/**
 * One mmap(2) with a life cycle. After {@link release} the object throws; a view that was kept reads zeros and reaches
 * neither the memory nor the device that used to be there.
 */
export class MappedMemory implements Disposable {
  readonly address: bigint;
  /** Bytes. */
  readonly length: number;
  readonly #syscalls: Syscalls;
  #buffer: ArrayBuffer | undefined;
  readonly #parts: ArrayBuffer[] = [];
  #released = false;

  private constructor(syscalls: Syscalls, address: bigint, length: number) {
    this.#syscalls = syscalls;
    this.address = address;
    this.length = length;
  }

  /** @throws SyscallError as mmap(2) answers. */
  static map(syscalls: Syscalls, request: MmapRequest): MappedMemory {
    return new MappedMemory(syscalls, syscalls.mmap(request), request.length);
  }

  /**
   * {@link map} at a multiple of `alignment`, a power of two, which mmap(2) does not offer: takes more address space than
   * needed, maps inside it and gives back what lies around.
   * @throws SyscallError as mmap(2) and munmap(2) answer; nothing stays mapped then.
   */
  static mapAligned(syscalls: Syscalls, request: MmapRequest, alignment: number): MappedMemory {
    const spare = alignment - syscalls.pageSize;
    if (spare <= 0) return MappedMemory.map(syscalls, request);
    const { length } = request;
    const reservation = { length: length + spare, prot: PROT_NONE, flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE };
    // What is ours and not yet part of the result; the kernel may give the rest to anybody.
    const ours = { start: syscalls.mmap(reservation), length: length + spare };
    try {
      const head = Number(-ours.start & BigInt(alignment - 1));
      const address = ours.start + BigInt(head);
      syscalls.mmap({ ...request, address, flags: request.flags | MAP_FIXED });
      if (head > 0) syscalls.munmap(ours.start, head);
      ours.start = address;
      ours.length -= head;
      if (ours.length > length) syscalls.munmap(address + BigInt(length), ours.length - length);
      return new MappedMemory(syscalls, address, length);
    } catch (error) {
      quietly(() => syscalls.munmap(ours.start, ours.length));
      throw error;
    }
  }

  get released(): boolean {
    return this.#released;
  }

  /**
   * The mapped bytes, without a copy; the same object each time.
   * @throws IospanError `ERR_IOSPAN_RELEASED` after {@link release}, `ERR_IOSPAN_NOT_SUPPORTED` when they are more than an
   * ArrayBuffer can have.
   */
  get buffer(): ArrayBuffer {
    this.#checkMapped();
    this.#buffer ??= this.#syscalls.view(this.address, this.length);
    return this.#buffer;
  }

  /** A part of the mapped bytes, without a copy. @throws as {@link buffer}. */
  part(offset: number, length: number): ArrayBuffer {
    this.#checkMapped();
    const view = this.#syscalls.view(this.address + BigInt(offset), length);
    this.#parts.push(view);
    return view;
  }

  /**
   * Gives the memory back. A second call does nothing.
   * @throws SyscallError where the kernel refuses; the object counts as released all the same, and the memory behind it
   * returns when no view of it is left.
   */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    const views = this.#buffer === undefined ? this.#parts : [...this.#parts, this.#buffer];
    const span = { syscalls: this.#syscalls, address: this.address, length: this.length, views: views.length };
    if (views.length === 0) {
      twice(() => span.syscalls.munmap(span.address, span.length));
      return;
    }
    for (const view of views) unreachable.register(view, span);
    this.#buffer = undefined;
    this.#parts.length = 0;
    twice(() => coverWithZeros(span));
  }

  [Symbol.dispose](): void {
    this.release();
  }

  #checkMapped(): void {
    if (!this.#released) return;
    throw new IospanError("ERR_IOSPAN_RELEASED", `the memory at ${hex(this.address)} has been released`, {
      hint: "keep the object that owns the memory open for as long as it is used",
    });
  }
}

/** For a way out that must not hide why it is taken. */
function quietly(step: () => void): void {
  try {
    step();
  } catch {
    // The addresses stay taken; what they were taken for has failed, and that is told.
  }
}

/** Replaces what is mapped in one step, so that there is no moment at which a late access would fault. */
function coverWithZeros({ syscalls, address, length }: Span): void {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
  syscalls.mmap({ address, length, prot: PROT_READ | PROT_WRITE, flags });
}

/** A release has no second chance later, and ENOMEM and EAGAIN pass: so it is tried twice. */
function twice(step: () => void): void {
  try {
    step();
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    step();
  }
}

import type { TimedAccess, TimedDmaPort } from "./device-model.js";
import type { Link } from "./interconnect.js";

/** What a path needs of the IOMMU that it goes through. */
export interface Translator {
  /** @returns the physical address; negative: the access is aborted, and the IOMMU has recorded why. */
  translate(streamId: number, address: number, write: boolean): number;
  /** {@link translate} for addresses that a number does not hold. */
  translateWide(streamId: number, address: bigint, write: boolean): number;
  /** Bytes from the last address on that the last translation holds for. */
  readonly reach: number;
  readonly counters: { readonly descriptorReads: number };
}

/** What a path needs of memory. */
export interface BusMemory {
  /** Bytes. */
  readonly pageSize: number;
  /** @returns false where nothing answers. */
  read(address: number, into: Uint8Array): boolean;
  /** @returns false where nothing answers. */
  write(address: number, from: Uint8Array): boolean;
}

/** What a path consists of. */
export interface DmaPathParts {
  readonly memory: BusMemory;
  /** Undefined: addresses are physical. */
  readonly smmu: Translator | undefined;
  readonly streamId: number;
  /** Whether the device may put anything on the bus: PCI's bus master bit. */
  mayMaster(): boolean;
  readonly link: Link;
}

const ADDRESS_BITS = 64;
/** Instead of an offset. */
const NOTHING = -1;
/** Instead of a physical address: no address goes on from it. */
const NOWHERE = Number.NEGATIVE_INFINITY;

/**
 * A device's way to memory: over its link, through its IOMMU if it has one, and only while it may master the bus.
 *
 * An aborted access goes on after the page in which it was aborted, so a page has one event at most. Bytes that could not be
 * read are zeros (as QEMU gives them: system/memory.c, unassigned_mem_read), bytes that could not be written are lost.
 */
export class DmaPath implements TimedDmaPort {
  readonly #parts: DmaPathParts;
  /** Where the last access was first aborted. */
  #abortedAt: bigint | undefined;

  constructor(parts: DmaPathParts) {
    this.#parts = parts;
  }

  read(address: bigint, into: Uint8Array): boolean {
    return this.#transfer(address, into, false);
  }

  write(address: bigint, from: Uint8Array): boolean {
    return this.#transfer(address, from, true);
  }

  readTimed(address: bigint, into: Uint8Array): TimedAccess {
    const { link } = this.#parts;
    const before = this.#descriptorReads;
    const complete = this.read(address, into);
    const abortedAt = this.#abortedAt;
    return { complete, abortedAt, done: link.read(into.length, this.#descriptorReads - before) };
  }

  send(length: number): number {
    return this.#parts.link.send(length);
  }

  writeTimed(address: bigint, from: Uint8Array): TimedAccess {
    const { link } = this.#parts;
    const before = this.#descriptorReads;
    const complete = this.write(address, from);
    const abortedAt = this.#abortedAt;
    return { complete, abortedAt, done: link.land(from.length, this.#descriptorReads - before) };
  }

  get #descriptorReads(): number {
    return this.#parts.smmu?.counters.descriptorReads ?? 0;
  }

  #transfer(address: bigint, bytes: Uint8Array, write: boolean): boolean {
    this.#abortedAt = undefined;
    if (bytes.length === 0) return true;
    if (!this.#parts.mayMaster()) {
      if (!write) bytes.fill(0);
      return this.#abort(address);
    }
    // Bigints cost more than a translation does, so they are left as soon as can be.
    const start = Number(address);
    if (start < 0 || start + bytes.length > Number.MAX_SAFE_INTEGER) return this.#transferWide(address, bytes, write);
    const { smmu } = this.#parts;
    const aborted =
      smmu === undefined ? this.#settle(start, bytes, 0, bytes.length, write) : this.#walk(smmu, start, bytes, write);
    return aborted === NOTHING || this.#abort(address + BigInt(aborted));
  }

  #abort(address: bigint): false {
    this.#abortedAt = address;
    return false;
  }

  /** What goes on physically is copied in one piece. @returns the offset of the first byte that was aborted, or NOTHING. */
  #walk(smmu: Translator, start: number, bytes: Uint8Array, write: boolean): number {
    const { streamId, memory } = this.#parts;
    let aborted = NOTHING;
    // The piece that is still to be settled: bytes [from, done), which lie at `physical`.
    let from = 0;
    let done = 0;
    let physical = 0;
    while (done < bytes.length) {
      const address = start + done;
      const translated = smmu.translate(streamId, address, write);
      if (translated < 0 || translated !== physical + done - from) {
        aborted = earlier(aborted, this.#settle(physical, bytes, from, done, write));
        from = done;
        physical = translated < 0 ? NOWHERE : translated;
      }
      const reach = translated < 0 ? memory.pageSize - (address % memory.pageSize) : smmu.reach;
      done = Math.min(bytes.length, done + reach);
    }
    return earlier(aborted, this.#settle(physical, bytes, from, done, write));
  }

  /** Page by page, with addresses that only a bigint holds. They begin anew after 2^64. */
  #transferWide(address: bigint, bytes: Uint8Array, write: boolean): boolean {
    const { smmu, streamId, memory } = this.#parts;
    let aborted: bigint | undefined;
    for (let done = 0; done < bytes.length; ) {
      const at = BigInt.asUintN(ADDRESS_BITS, address + BigInt(done));
      const end = Math.min(bytes.length, done + memory.pageSize - Number(at % BigInt(memory.pageSize)));
      const physical = smmu === undefined ? Number(at) : smmu.translateWide(streamId, at, write);
      if (this.#settle(physical, bytes, done, end, write) !== NOTHING) aborted ??= at;
      done = end;
    }
    return aborted === undefined || this.#abort(aborted);
  }

  /** Accesses memory for bytes [from, to). @returns the offset of the first byte that nothing answered for, or NOTHING. */
  #settle(physical: number, bytes: Uint8Array, from: number, to: number, write: boolean): number {
    if (from === to) return NOTHING;
    if (physical < 0) {
      if (!write) bytes.fill(0, from, to);
      return from;
    }
    const { memory } = this.#parts;
    const part = to - from === bytes.length ? bytes : bytes.subarray(from, to);
    const answered = write ? memory.write(physical, part) : memory.read(physical, part);
    return answered ? NOTHING : this.#settleByPage(physical, bytes, from, to, write);
  }

  /** Memory does not say where it ends: goes through what it did not answer as a whole. */
  #settleByPage(physical: number, bytes: Uint8Array, from: number, to: number, write: boolean): number {
    const { memory } = this.#parts;
    let aborted = NOTHING;
    for (let done = from; done < to; ) {
      const address = physical + done - from;
      const end = Math.min(to, done + memory.pageSize - (address % memory.pageSize));
      const part = bytes.subarray(done, end);
      const answered = write ? memory.write(address, part) : memory.read(address, part);
      if (!answered && !write) part.fill(0);
      if (!answered) aborted = earlier(aborted, done);
      done = end;
    }
    return aborted;
  }
}

function earlier(aborted: number, other: number): number {
  return aborted === NOTHING ? other : aborted;
}

import { type Interval, IntervalMap } from "../interval-map.js";
import { KernelArenas } from "./kernel-arenas.js";
import { type RamBank, RamBanks } from "./ram-banks.js";
import { WordCache } from "./word-cache.js";

export type { RamBank } from "./ram-banks.js";

/** Registers that sit in the physical address space. Offsets count from the window's start. */
export interface RegisterWindow {
  /** False while nothing answers there; absent: it always does. */
  readonly answers?: boolean;
  read(offset: number, into: Uint8Array): void;
  write(offset: number, from: Uint8Array): void;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** Consecutive pages of RAM. */
interface Ram {
  readonly bytes: Bytes;
  /** For each page, how many mappings and pins keep it. */
  readonly holders: Uint32Array;
  readonly isKernel: boolean;
}

/** Where QEMU's virt machine has its RAM. */
const DEFAULT_BANKS: readonly RamBank[] = [{ start: 0x4000_0000, size: Number.POSITIVE_INFINITY }];

/** What {@link PhysicalMemory.read32} gives where nothing answers: neither RAM nor registers. */
export const NO_ANSWER = -1;

/**
 * RAM and register windows by physical address. A page exists while somebody holds it, so that memory which a device may
 * still write to outlives its munmap. While there are addresses that were never used, none is used twice: who comes by a
 * translation that should have been removed finds free RAM, which answers as any RAM (with zeros), instead of somebody else's page.
 */
export class PhysicalMemory {
  /** The lower 32 bits of what {@link readHalves} read, as a signed number. */
  low = 0;
  /** The upper 32 bits. */
  high = 0;
  readonly pageSize: number;
  readonly #ram: IntervalMap<Ram>;
  readonly #windows = new IntervalMap<RegisterWindow>((window) => window);
  readonly #banks: RamBanks;
  readonly #arenas: KernelArenas;
  readonly #words: WordCache;
  readonly #scratch = new DataView(new ArrayBuffer(8));
  readonly #scratchBytes = new Uint8Array(this.#scratch.buffer);
  /** The piece of RAM that the last transfer went to. */
  #last: Interval<Ram> | undefined;
  #used = 0;
  #reserved = 0;

  /** @param banks where there is RAM; without them it begins at 1 GiB and does not end */
  constructor(pageSize: number, banks: readonly RamBank[] = DEFAULT_BANKS) {
    this.pageSize = pageSize;
    this.#ram = new IntervalMap(({ bytes, holders, isKernel }, from, to) => ({
      bytes: bytes.subarray(from, to),
      holders: holders.subarray(from / pageSize, to / pageSize),
      isKernel,
    }));
    this.#banks = new RamBanks(banks);
    this.#arenas = new KernelArenas(this.#banks, this.#ram);
    this.#words = new WordCache(pageSize, (address) => this.#ram.at(address));
  }

  /** Bytes of RAM that a process maps or somebody pins. */
  get used(): number {
    return this.#used;
  }

  /** Bytes of RAM that the kernel has for itself ({@link reserve}). */
  get reserved(): number {
    return this.#reserved;
  }

  /**
   * Pages that are held once, with consecutive addresses.
   * @param storage where the bytes lie
   * @param alignment what the address is a multiple of, but for
   * @param phase the address modulo `alignment`
   * @returns the address; undefined when no bank has room
   */
  allocate(storage: Bytes, alignment: number, phase = 0): number | undefined {
    const wanted = { length: storage.length, alignment, phase, below: Number.POSITIVE_INFINITY };
    const address = this.#banks.choose(wanted, this.#ram);
    if (address !== undefined) this.#insert(address, storage, false);
    return address;
  }

  /**
   * Memory for the kernel itself (page tables, queues): zeros, whole pages, not counted in {@link used}. It comes out of
   * areas of its own, so that processes' memory stays as contiguous as it was.
   * @param below the first address that is too high for whoever is to reach it
   * @returns the address; undefined when no bank has room
   */
  reserve(size: number, alignment: number = this.pageSize, below = Number.POSITIVE_INFINITY): number | undefined {
    const length = this.#wholePages(size);
    const address = this.#arenas.choose(length, Math.max(alignment, this.pageSize), below);
    if (address !== undefined) this.#insert(address, new Uint8Array(length), true);
    return address;
  }

  /**
   * Ends a {@link reserve} with the same address and size.
   * @throws Error when that is not the kernel's memory
   */
  free(address: number, size: number): void {
    const length = this.#wholePages(size);
    const isReserved = (end: number) => this.#pieces(address, end).every(({ isKernel }) => isKernel);
    if (this.#ram.gaps(address, address + length).length > 0 || !isReserved(length))
      throw new Error(`0x${address.toString(16)} to 0x${(address + length).toString(16)} was not reserved`);
    this.release(address, length);
  }

  /** Makes registers answer at `address`. */
  place(address: number, length: number, window: RegisterWindow): void {
    this.#windows.insert(address, address + length, window);
  }

  hold(address: number, length: number): void {
    for (const { holders } of this.#pieces(address, length)) {
      for (const [page, count] of holders.entries()) holders[page] = count + 1;
    }
  }

  /**
   * Gives up one hold of every page. Pages that nobody holds any more are gone.
   * @throws Error when some of the pages do not exist
   */
  release(address: number, length: number): void {
    const end = address + length;
    const pieces = this.#ram.within(address, end);
    if (pieces.reduce((sum, piece) => sum + piece.end - piece.start, 0) !== length)
      throw new Error(`not all of 0x${address.toString(16)} to 0x${end.toString(16)} exists`);
    for (const { start, value } of pieces) {
      const { holders } = value;
      for (const [page, count] of holders.entries()) holders[page] = count - 1;
      this.#freeUnheld(start, holders);
    }
  }

  /** Where the bytes of these pages lie, in order. */
  storage(address: number, length: number): readonly Bytes[] {
    return this.#pieces(address, length).map(({ bytes }) => bytes);
  }

  /** Whether any of the pages still exists. */
  exists(address: number, length: number): boolean {
    return this.#ram.first(address, address + length) !== undefined;
  }

  /** Copies pages that still exist to `storage`, where they lie from now on. */
  move(address: number, storage: Bytes): void {
    for (const { start, end, value } of this.#take(address, storage.length)) {
      const bytes = storage.subarray(start - address, end - address);
      bytes.set(value.bytes);
      this.#ram.insert(start, end, { ...value, bytes });
    }
  }

  /** @returns false where nothing answers: an aborted access. */
  read(address: number, into: Uint8Array): boolean {
    const ram = this.#ramWith(address, into.length);
    if (ram === undefined) return this.#readPieces(address, into);
    const from = address - ram.start;
    into.set(ram.value.bytes.subarray(from, from + into.length));
    return true;
  }

  /** @returns false where nothing answers: an aborted access. */
  write(address: number, from: Uint8Array): boolean {
    const ram = this.#ramWith(address, from.length);
    if (ram === undefined) return this.#writePieces(address, from);
    ram.value.bytes.set(from, address - ram.start);
    return true;
  }

  /** Four bytes, little-endian, unsigned; {@link NO_ANSWER} where nothing answers. */
  read32(address: number): number {
    const word = this.#words.read(address);
    if (word !== NO_ANSWER) return word;
    const bytes = this.#scratchBytes.subarray(0, 4);
    return this.#readPieces(address, bytes) ? this.#scratch.getUint32(0, true) : NO_ANSWER;
  }

  /** @returns false where nothing answers. */
  write32(address: number, value: number): boolean {
    if (this.#words.write(address, value)) return true;
    this.#scratch.setUint32(0, value, true);
    return this.#writePieces(address, this.#scratchBytes.subarray(0, 4));
  }

  /**
   * Eight bytes, little-endian, into {@link low} and {@link high}: what a table walk reads, without a bigint.
   * @returns false where nothing answers
   */
  readHalves(address: number): boolean {
    if (this.#words.readPair(address)) {
      this.low = this.#words.low;
      this.high = this.#words.high;
      return true;
    }
    if (!this.#readPieces(address, this.#scratchBytes)) return false;
    this.low = this.#scratch.getInt32(0, true);
    this.high = this.#scratch.getInt32(4, true);
    return true;
  }

  /** Eight bytes, little-endian, unsigned; undefined where nothing answers. */
  read64(address: number): bigint | undefined {
    return this.read(address, this.#scratchBytes) ? this.#scratch.getBigUint64(0, true) : undefined;
  }

  /** @returns false where nothing answers. */
  write64(address: number, value: bigint): boolean {
    this.#scratch.setBigUint64(0, value, true);
    return this.write(address, this.#scratchBytes);
  }

  #readPieces(address: number, into: Uint8Array): boolean {
    return this.#access(address, into.length, (interval, from, at, length) => {
      const part = into.subarray(at, at + length);
      if (interval === undefined) part.fill(0);
      else if ("bytes" in interval.value) part.set(interval.value.bytes.subarray(from, from + length));
      else interval.value.read(from, part);
    });
  }

  #writePieces(address: number, from: Uint8Array): boolean {
    return this.#access(address, from.length, (interval, to, at, length) => {
      const part = from.subarray(at, at + length);
      if (interval === undefined) return;
      if ("bytes" in interval.value) interval.value.bytes.set(part, to);
      else interval.value.write(to, part);
    });
  }

  /** @param transfer is given no interval for RAM that is free: it answers, but what is in it is of no account */
  #access(
    address: number,
    length: number,
    transfer: (
      interval: Interval<Ram | RegisterWindow> | undefined,
      offset: number,
      at: number,
      length: number,
    ) => void,
  ): boolean {
    let done = 0;
    while (done < length) {
      const at = address + done;
      const interval = this.#ram.at(at) ?? this.#windows.at(at);
      const end = interval?.end ?? this.#endOfFreeRam(at, address + length);
      if (end === undefined || isSilent(interval)) return false;
      const part = Math.min(length - done, end - at);
      transfer(interval, at - (interval?.start ?? at), done, part);
      done += part;
    }
    return true;
  }

  /** Where free RAM that begins at an address ends, or `limit`; undefined where there is no RAM. */
  #endOfFreeRam(address: number, limit: number): number | undefined {
    const end = this.#banks.endAt(address);
    return end && Math.min(end, this.#ram.first(address, limit)?.start ?? limit);
  }

  /** The piece of RAM that holds all of [address, address + length); undefined when there is not one that does. */
  #ramWith(address: number, length: number): Interval<Ram> | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.start && address + length <= last.end) return last;
    const found = this.#ram.at(address);
    if (found === undefined || address + length > found.end) return undefined;
    this.#last = found;
    return found;
  }

  #pieces(address: number, length: number): readonly Ram[] {
    return this.#ram.within(address, address + length).map(({ value }) => value);
  }

  #insert(address: number, bytes: Bytes, isKernel: boolean): void {
    const holders = new Uint32Array(bytes.length / this.pageSize).fill(1);
    this.#ram.insert(address, address + bytes.length, { bytes, holders, isKernel });
    if (isKernel) this.#reserved += bytes.length;
    else this.#used += bytes.length;
  }

  #freeUnheld(address: number, holders: Uint32Array): void {
    let page = 0;
    while (page < holders.length) {
      const from = page;
      while (page < holders.length && holders[page] === 0) page++;
      if (page > from) this.#remove(address + from * this.pageSize, (page - from) * this.pageSize);
      page++;
    }
  }

  #remove(address: number, length: number): void {
    for (const { value, start, end } of this.#take(address, length)) {
      if (value.isKernel) this.#reserved -= end - start;
      else this.#used -= end - start;
    }
  }

  /** Takes RAM out of the map, and out of everything that remembers where it lies. */
  #take(address: number, length: number): readonly Interval<Ram>[] {
    this.#last = undefined;
    this.#words.forget(address, length);
    return this.#ram.remove(address, address + length);
  }

  #wholePages(size: number): number {
    return Math.ceil(size / this.pageSize) * this.pageSize;
  }
}

function isSilent(interval: Interval<Ram | RegisterWindow> | undefined): boolean {
  return interval !== undefined && "answers" in interval.value && interval.value.answers === false;
}

import { type Interval, IntervalMap } from "../interval-map.js";

/** Registers that sit in the physical address space. Offsets count from the window's start. */
export interface RegisterWindow {
  read(offset: number, into: Uint8Array): void;
  write(offset: number, from: Uint8Array): void;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** Consecutive pages of RAM. */
interface Ram {
  readonly bytes: Bytes;
  /** For each page, how many mappings and pins keep it. */
  readonly holders: Uint32Array;
}

/** Where QEMU's virt machine has its RAM. */
const RAM_BASE = 0x4000_0000;

/**
 * RAM and register windows by physical address. A page exists while somebody holds it, so that memory which a device may
 * still write to outlives its munmap. Addresses are not used twice: a translation that should have been removed
 * reaches nothing, instead of somebody else's page.
 */
export class PhysicalMemory {
  readonly pageSize: number;
  readonly #ram: IntervalMap<Ram>;
  readonly #windows = new IntervalMap<RegisterWindow>((window) => window);
  #next = RAM_BASE;
  #used = 0;

  constructor(pageSize: number) {
    this.pageSize = pageSize;
    this.#ram = new IntervalMap(({ bytes, holders }, from, to) => ({
      bytes: bytes.subarray(from, to),
      holders: holders.subarray(from / pageSize, to / pageSize),
    }));
  }

  /** Bytes of RAM that somebody holds. */
  get used(): number {
    return this.#used;
  }

  /**
   * Pages that are held once, with consecutive addresses.
   * @param storage where the bytes lie
   * @param alignment what the address is a multiple of, but for
   * @param phase the address modulo `alignment`
   * @returns the address
   */
  allocate(storage: Bytes, alignment: number, phase = 0): number {
    const { length } = storage;
    const address = Math.ceil((this.#next - phase) / alignment) * alignment + phase;
    this.#next = address + length;
    this.#used += length;
    this.#ram.insert(address, address + length, {
      bytes: storage,
      holders: new Uint32Array(length / this.pageSize).fill(1),
    });
    return address;
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

  /** Gives up one hold of every page. Pages that nobody holds any more are gone. */
  release(address: number, length: number): void {
    let at = address;
    for (const { holders, bytes } of this.#pieces(address, length)) {
      for (const [page, count] of holders.entries()) holders[page] = count - 1;
      this.#freeUnheld(at, holders);
      at += bytes.length;
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
    for (const { start, end, value } of this.#ram.remove(address, address + storage.length)) {
      const bytes = storage.subarray(start - address, end - address);
      bytes.set(value.bytes);
      this.#ram.insert(start, end, { bytes, holders: value.holders });
    }
  }

  /** @returns false where nothing answers: an aborted access. */
  read(address: number, into: Uint8Array): boolean {
    return this.#access(address, into.length, (interval, from, at, length) => {
      const part = into.subarray(at, at + length);
      if ("bytes" in interval.value) part.set(interval.value.bytes.subarray(from, from + length));
      else interval.value.read(from, part);
    });
  }

  /** @returns false where nothing answers: an aborted access. */
  write(address: number, from: Uint8Array): boolean {
    return this.#access(address, from.length, (interval, to, at, length) => {
      const part = from.subarray(at, at + length);
      if ("bytes" in interval.value) interval.value.bytes.set(part, to);
      else interval.value.write(to, part);
    });
  }

  #access(
    address: number,
    length: number,
    transfer: (interval: Interval<Ram | RegisterWindow>, offset: number, at: number, length: number) => void,
  ): boolean {
    let done = 0;
    while (done < length) {
      const at = address + done;
      const interval = this.#ram.at(at) ?? this.#windows.at(at);
      if (interval === undefined) return false;
      const part = Math.min(length - done, interval.end - at);
      transfer(interval, at - interval.start, done, part);
      done += part;
    }
    return true;
  }

  #pieces(address: number, length: number): readonly Ram[] {
    return this.#ram.within(address, address + length).map(({ value }) => value);
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
    this.#ram.remove(address, address + length);
    this.#used -= length;
  }
}

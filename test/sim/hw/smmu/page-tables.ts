import type { PhysicalMemory } from "../../../../src/sim/hw/physical-memory.js";

/** What a descriptor allows, and what else is in it. */
export interface LeafAttributes {
  readonly read?: boolean;
  readonly write?: boolean;
  readonly accessFlag?: boolean;
  readonly global?: boolean;
  readonly contiguous?: boolean;
  /** Stage 2: memory of a Device type. */
  readonly device?: boolean;
  readonly privileged?: boolean;
}

export interface PageTableOptions {
  readonly stage?: 1 | 2;
  readonly granule?: 4096 | 16384 | 65536;
  readonly inputBits?: number;
  /** Stage 2 may begin later, with several tables side by side. */
  readonly firstLevel?: number;
  /** Where an address lies in memory when the tables' own are intermediate ones. */
  readonly place?: (address: number) => number;
  /** Where tables get their addresses. */
  readonly allocate?: (size: number, alignment: number) => number;
}

/** Builds translation tables bit by bit, out of the architecture's manual and with nothing of the simulator's. */
export class PageTables {
  readonly root: number;
  readonly firstLevel: number;
  readonly granule: number;
  readonly inputBits: number;
  readonly #memory: PhysicalMemory;
  readonly #stage: 1 | 2;
  readonly #pageBits: number;
  readonly #indexBits: number;
  readonly #place: (address: number) => number;
  readonly #allocate: (size: number, alignment: number) => number;

  constructor(memory: PhysicalMemory, options: PageTableOptions = {}) {
    const { stage = 1, granule = 4096, inputBits = 48 } = options;
    this.#memory = memory;
    this.#stage = stage;
    this.granule = granule;
    this.inputBits = inputBits;
    this.#pageBits = Math.log2(granule);
    this.#indexBits = this.#pageBits - 3;
    let level = 3;
    while (this.shift(level) + this.#indexBits < inputBits) level--;
    this.firstLevel = options.firstLevel ?? level;
    this.#place = options.place ?? ((address) => address);
    this.#allocate = options.allocate ?? ((size, alignment) => memory.reserve(size, alignment)!);
    const size = Math.max(64, 8 * 2 ** (inputBits - this.shift(this.firstLevel)));
    this.root = this.#allocate(Math.max(size, granule), Math.max(size, granule));
  }

  /** log2 of what a descriptor of a level covers. */
  shift(level: number): number {
    return this.#pageBits + (3 - level) * this.#indexBits;
  }

  /** Maps one block or page. @returns where its descriptor lies */
  map(input: number, output: number, level = 3, attributes: LeafAttributes = {}): number {
    const at = this.descriptorAt(input, level);
    this.store(at, this.leaf(output, level, attributes));
    return at;
  }

  /** Maps a contiguous range: as many descriptors with the bit as belong together. */
  mapContiguous(input: number, output: number, level: number, attributes: LeafAttributes = {}): number {
    const count = contiguousCount(this.granule, level);
    const size = 2 ** this.shift(level);
    for (let i = 0; i < count; i++) {
      this.map(input + i * size, output + i * size, level, { ...attributes, contiguous: true });
    }
    return count * size;
  }

  leaf(output: number, level: number, attributes: LeafAttributes): bigint {
    const { read = true, write = true, accessFlag = true, global = false, contiguous = false } = attributes;
    let descriptor = level === 3 ? 0b11n : 0b01n;
    const address = BigInt(output);
    descriptor |= address & 0xffff_ffff_f000n;
    if (this.granule === 65536) descriptor |= ((address >> 48n) & 0xfn) << 12n;
    if (accessFlag) descriptor |= 1n << 10n;
    if (contiguous) descriptor |= 1n << 52n;
    if (this.#stage === 2) {
      descriptor |= attributes.device === true ? 0n : 0xfn << 2n;
      if (read) descriptor |= 1n << 6n;
      if (write) descriptor |= 1n << 7n;
      return descriptor;
    }
    if (attributes.privileged !== true) descriptor |= 1n << 6n;
    if (!write) descriptor |= 1n << 7n;
    if (!global) descriptor |= 1n << 11n;
    return descriptor;
  }

  /** Where the descriptor of an address lies at a level; tables above it are made if missing. */
  descriptorAt(input: number, level: number): number {
    let table = this.root;
    for (let at = this.firstLevel; ; at++) {
      const descriptor = table + this.#index(input, at) * 8;
      if (at === level) return descriptor;
      const found = this.load(descriptor);
      if ((found & 3n) === 3n) {
        table = Number(found & 0xffff_ffff_f000n);
        if (this.granule === 65536) table = Number(found & 0xffff_ffff_0000n) + Number((found >> 12n) & 0xfn) * 2 ** 48;
        continue;
      }
      table = this.#allocate(this.granule, this.granule);
      this.store(descriptor, BigInt(table) | 3n);
    }
  }

  load(address: number): bigint {
    const bytes = new Uint8Array(8);
    if (!this.#memory.read(this.#place(address), bytes)) throw new Error("the table is not in memory");
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }

  store(address: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    if (!this.#memory.write(this.#place(address), bytes)) throw new Error("the table is not in memory");
  }

  #index(input: number, level: number): number {
    const size = 2 ** this.shift(level);
    const whole = Math.floor(input / size);
    return level === this.firstLevel ? whole : whole % 2 ** this.#indexBits;
  }
}

export function contiguousCount(granule: number, level: number): number {
  if (granule === 4096) return 16;
  if (granule === 16384) return level === 3 ? 128 : 32;
  return 32;
}

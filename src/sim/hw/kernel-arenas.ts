import type { Occupancy, RamBanks } from "./ram-banks.js";

/** Addresses are taken out of the banks in this many bytes, a transparent huge page, so that no more of those is spoilt. */
const ARENA_SIZE = 2 ** 21;

/** Chooses addresses for the kernel's own memory: small pieces, many of them, together. */
export class KernelArenas {
  readonly #banks: RamBanks;
  readonly #occupied: Occupancy;
  /** What is left of the newest arena. */
  #next = 0;
  #end = 0;

  constructor(banks: RamBanks, occupied: Occupancy) {
    this.#banks = banks;
    this.#occupied = occupied;
  }

  /** An address for `length` bytes; undefined when no bank has room. */
  choose(length: number, alignment: number): number | undefined {
    const wanted = { length, alignment, phase: 0 };
    // What would take most of an arena gets a place of its own.
    if (length > ARENA_SIZE / 4 || alignment > ARENA_SIZE) return this.#banks.choose(wanted, this.#occupied);
    return (
      this.#fromArena(length, alignment) ??
      this.#fromNewArena(length, alignment) ??
      this.#banks.choose(wanted, this.#occupied)
    );
  }

  #fromArena(length: number, alignment: number): number | undefined {
    const address = Math.ceil(this.#next / alignment) * alignment;
    const end = address + length;
    // When memory is short, others take what an arena has left.
    if (end > this.#end || this.#occupied.first(address, end) !== undefined) return undefined;
    this.#next = end;
    return address;
  }

  #fromNewArena(length: number, alignment: number): number | undefined {
    const arena = this.#banks.choose({ length: ARENA_SIZE, alignment: ARENA_SIZE, phase: 0 }, this.#occupied);
    if (arena === undefined) return undefined;
    this.#next = arena;
    this.#end = arena + ARENA_SIZE;
    return this.#fromArena(length, alignment);
  }
}

import type { Occupancy, RamBanks } from "./ram-banks.js";

/** Addresses are taken out of the banks in this many bytes, a transparent huge page, so that no more of those is spoilt. */
const ARENA_SIZE = 2 ** 21;

/** A piece of the banks that is handed out from its start to its end. */
interface Arena {
  /** What is left of it. */
  next: number;
  readonly end: number;
}

/** Chooses addresses for the kernel's own memory: small pieces, many of them, together. */
export class KernelArenas {
  readonly #banks: RamBanks;
  readonly #occupied: Occupancy;
  /** The newest arena of those who have the same limit. */
  readonly #arenas = new Map<number, Arena>();

  constructor(banks: RamBanks, occupied: Occupancy) {
    this.#banks = banks;
    this.#occupied = occupied;
  }

  /**
   * An address for `length` bytes that end at `below` or before; undefined when no bank has room.
   * @param below may be infinite
   */
  choose(length: number, alignment: number, below: number): number | undefined {
    const wanted = { length, alignment, phase: 0, below };
    // What would take most of an arena gets a place of its own.
    if (length > ARENA_SIZE / 4 || alignment > ARENA_SIZE) return this.#banks.choose(wanted, this.#occupied);
    return (
      this.#fromArena(length, alignment, below) ??
      this.#fromNewArena(length, alignment, below) ??
      this.#banks.choose(wanted, this.#occupied)
    );
  }

  #fromArena(length: number, alignment: number, below: number): number | undefined {
    const arena = this.#arenas.get(below);
    if (arena === undefined) return undefined;
    const address = Math.ceil(arena.next / alignment) * alignment;
    const end = address + length;
    // When memory is short, others take what an arena has left.
    if (end > arena.end || this.#occupied.first(address, end) !== undefined) return undefined;
    arena.next = end;
    return address;
  }

  #fromNewArena(length: number, alignment: number, below: number): number | undefined {
    const place = { length: ARENA_SIZE, alignment: ARENA_SIZE, phase: 0, below };
    const start = this.#banks.choose(place, this.#occupied);
    if (start === undefined) return undefined;
    this.#arenas.set(below, { next: start, end: start + ARENA_SIZE });
    return this.#fromArena(length, alignment, below);
  }
}

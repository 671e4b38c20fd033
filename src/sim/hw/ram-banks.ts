/** Physical addresses that are RAM. */
export interface RamBank {
  readonly start: number;
  /** Bytes; may be infinite. */
  readonly size: number;
}

/** Where a range is wanted: at `phase` modulo `alignment`, and up to `below`. */
export interface Placement {
  readonly length: number;
  readonly alignment: number;
  readonly phase: number;
  /** The first address that is too high. */
  readonly below: number;
}

/** What of the banks is in use. */
export interface Occupancy {
  /** The parts of [start, end) that are free. */
  gaps(start: number, end: number): readonly (readonly [start: number, end: number])[];
  /** Undefined when all of [start, end) is free. */
  first(start: number, end: number): unknown;
}

interface Bank {
  readonly start: number;
  readonly end: number;
  /** Nothing from here on was ever given out. */
  fresh: number;
}

/**
 * Chooses addresses in the machine's RAM. None is given out twice while there are some that never were and that will do;
 * after that, what has been free for the longest comes first, more or less: the search goes on where the last one ended.
 */
export class RamBanks {
  readonly #banks: readonly Bank[];
  #cursor = 0;

  constructor(banks: readonly RamBank[]) {
    const sorted = banks.toSorted((a, b) => a.start - b.start);
    this.#banks = sorted.map(({ start, size }) => ({ start, end: start + size, fresh: start }));
  }

  /** An address for a range; undefined when no bank has room for it. */
  choose(placement: Placement, occupancy: Occupancy): number | undefined {
    return this.#chooseFresh(placement) ?? this.#chooseFreed(placement, occupancy);
  }

  /** The end of the bank that an address is in. */
  endAt(address: number): number | undefined {
    return this.#banks.find(({ start, end }) => address >= start && address < end)?.end;
  }

  #chooseFresh(placement: Placement): number | undefined {
    for (const bank of this.#banks) {
      const address = firstAt(bank.fresh, placement);
      if (address + placement.length > Math.min(bank.end, placement.below)) continue;
      bank.fresh = address + placement.length;
      return address;
    }
    return undefined;
  }

  #chooseFreed(placement: Placement, occupancy: Occupancy): number | undefined {
    const from = this.#cursor;
    const found =
      this.#chooseBetween(from, placement.below, placement, occupancy) ??
      this.#chooseBetween(
        0,
        Math.min(from + placement.length + placement.alignment, placement.below),
        placement,
        occupancy,
      );
    if (found !== undefined) this.#cursor = found + placement.length;
    return found;
  }

  #chooseBetween(from: number, to: number, placement: Placement, occupancy: Occupancy): number | undefined {
    for (const bank of this.#banks) {
      for (const [start, end] of occupancy.gaps(Math.max(bank.start, from), Math.min(bank.end, to))) {
        const address = firstAt(start, placement);
        if (address + placement.length > end) continue;
        bank.fresh = Math.max(bank.fresh, address + placement.length);
        return address;
      }
    }
    return undefined;
  }
}

function firstAt(from: number, { alignment, phase }: Placement): number {
  return Math.ceil((from - phase) / alignment) * alignment + phase;
}

import type { Board } from "../board.js";

/** Something that is counted over all boards, and what Debian's boards come to. */
export type Total = NumberTotal | NamesTotal;

export interface NumberTotal {
  readonly what: string;
  readonly expected: number;
  /** What one board adds; `true` is 1, for those that count boards. */
  readonly of: (board: Board) => number | boolean;
}

/** Not how many there are, but which. */
export interface NamesTotal {
  readonly what: string;
  /** In order of the alphabet. */
  readonly expected: readonly string[];
  readonly namesOf: (board: Board) => Iterable<string>;
}

/** Adds up a total, board by board. */
export class Tally {
  readonly total: Total;
  #sum = 0;
  readonly #names = new Set<string>();

  constructor(total: Total) {
    this.total = total;
  }

  add(board: Board): void {
    if ("of" in this.total) this.#sum += Number(this.total.of(board));
    else for (const name of this.total.namesOf(board)) this.#names.add(name);
  }

  get result(): string {
    return "of" in this.total ? String(this.#sum) : [...this.#names].sort().join(" ");
  }

  get expected(): string {
    return "of" in this.total ? String(this.total.expected) : this.total.expected.join(" ");
  }
}

/** A half-open range of numbers with what lies there. */
export interface Interval<T> {
  readonly start: number;
  /** The first number after it. */
  readonly end: number;
  readonly value: T;
}

/**
 * Ranges of numbers that do not overlap, in ascending order, each with a value. Lookups are binary searches; inserting
 * and removing move the tail of an array, which up to the tens of thousands of mappings a container takes is a memmove.
 */
export class IntervalMap<T> implements Iterable<Interval<T>> {
  readonly #intervals: Interval<T>[] = [];
  readonly #slice: (value: T, from: number, to: number) => T;

  /** @param slice the value of a part of a range: from `from` to `to`, counted from the start of the range that has `value` */
  constructor(slice: (value: T, from: number, to: number) => T) {
    this.#slice = slice;
  }

  get size(): number {
    return this.#intervals.length;
  }

  [Symbol.iterator](): Iterator<Interval<T>> {
    return this.#intervals[Symbol.iterator]();
  }

  /** The range that contains `key`. */
  at(key: number): Interval<T> | undefined {
    const found = this.#intervals[this.#firstEndingAfter(key)];
    return found !== undefined && found.start <= key ? found : undefined;
  }

  /** The first range that reaches into [start, end). */
  first(start: number, end: number): Interval<T> | undefined {
    const found = this.#intervals[this.#firstEndingAfter(start)];
    return found !== undefined && found.start < end ? found : undefined;
  }

  /** All ranges that reach into [start, end), whole. */
  overlapping(start: number, end: number): Interval<T>[] {
    if (start >= end) return [];
    const from = this.#firstEndingAfter(start);
    let to = from;
    while (to < this.#intervals.length && this.#startAt(to) < end) to++;
    return this.#intervals.slice(from, to);
  }

  /** The parts of [start, end) that no range covers. */
  gaps(start: number, end: number): (readonly [start: number, end: number])[] {
    const gaps: (readonly [number, number])[] = [];
    let from = start;
    for (const interval of this.overlapping(start, end)) {
      if (interval.start > from) gaps.push([from, interval.start]);
      from = interval.end;
    }
    if (from < end) gaps.push([from, end]);
    return gaps;
  }

  /** What lies in [start, end), cut to it. */
  within(start: number, end: number): Interval<T>[] {
    return this.overlapping(start, end).map((interval) => this.#cut(interval, start, end));
  }

  /** Adds a range that overlaps none. */
  insert(start: number, end: number, value: T): void {
    this.#intervals.splice(this.#firstEndingAfter(start), 0, { start, end, value });
  }

  /** Removes [start, end), cutting ranges that reach beyond it, and gives what was there. */
  remove(start: number, end: number): Interval<T>[] {
    const from = this.#firstEndingAfter(start);
    const whole = this.overlapping(start, end);
    const rest = whole.flatMap((interval) => [
      ...(interval.start < start ? [this.#cut(interval, interval.start, start)] : []),
      ...(interval.end > end ? [this.#cut(interval, end, interval.end)] : []),
    ]);
    this.#intervals.splice(from, whole.length, ...rest);
    return whole.map((interval) => this.#cut(interval, start, end));
  }

  #cut(interval: Interval<T>, from: number, to: number): Interval<T> {
    if (interval.start >= from && interval.end <= to) return interval;
    const start = Math.max(interval.start, from);
    const end = Math.min(interval.end, to);
    return { start, end, value: this.#slice(interval.value, start - interval.start, end - interval.start) };
  }

  #startAt(index: number): number {
    return this.#intervals[index]?.start ?? Number.POSITIVE_INFINITY;
  }

  #firstEndingAfter(key: number): number {
    let low = 0;
    let high = this.#intervals.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#intervals[middle] as Interval<T>).end > key) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

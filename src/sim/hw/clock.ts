import { IospanError } from "../../errors.js";

interface Event {
  readonly at: number;
  readonly callback: () => void;
}

const NANOSECONDS_PER_MILLISECOND = 1e6;

/** After so many things the event loop gets a turn: a device that has always something to do must not stop the program. */
const MOST_IN_A_ROW = 100_000;

/**
 * The simulation's own time since power-on. It stands still except when something is due: waiting costs nothing and every
 * run is the same.
 *
 * What happens at the same time happens in the order it was asked for.
 */
export class Clock {
  /** Nanoseconds. */
  #now = 0;
  #events: Event[] = [];
  #draining = false;
  /** Things that happened by themselves since the event loop was given a turn. */
  #inARow = 0;

  /** Milliseconds, with fractions. */
  get now(): number {
    return this.#now / NANOSECONDS_PER_MILLISECOND;
  }

  /** Nanoseconds, with fractions. */
  get nanoseconds(): number {
    return this.#now;
  }

  /**
   * Calls back `delay` milliseconds from now; nobody need wait for it, it happens by itself when the program waits for
   * something. What `callback` throws comes out of {@link step} or {@link advance}, or else is an uncaught error.
   */
  after(delay: number, callback: () => void): void {
    this.at(this.#now + delay * NANOSECONDS_PER_MILLISECOND, callback);
  }

  /** Calls back at a time in nanoseconds since power-on, now if that is past; else as {@link after}. */
  at(nanoseconds: number, callback: () => void): void {
    if (!Number.isFinite(nanoseconds)) throw notATime(nanoseconds);
    const event = { at: Math.max(nanoseconds, this.#now), callback };
    const later = this.#events.findIndex((other) => other.at > event.at);
    this.#events.splice(later < 0 ? this.#events.length : later, 0, event);
    this.#drainSoon();
  }

  /** Lets time pass up to the next thing that is due, and does it. False: nothing is. */
  step(): boolean {
    const event = this.#events.shift();
    if (event === undefined) return false;
    this.#now = Math.max(this.#now, event.at);
    event.callback();
    return true;
  }

  /**
   * Lets milliseconds pass, doing what falls due; more pass if a callback steps further itself.
   * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for what is negative or not finite.
   */
  advance(milliseconds: number): void {
    if (!(milliseconds >= 0 && milliseconds < Number.POSITIVE_INFINITY)) throw notADuration(milliseconds);
    const end = this.#now + milliseconds * NANOSECONDS_PER_MILLISECOND;
    while (this.#events[0] !== undefined && this.#events[0].at <= end) this.step();
    this.#now = Math.max(this.#now, end);
  }

  #drainSoon(): void {
    if (this.#draining) return;
    this.#draining = true;
    if (this.#inARow < MOST_IN_A_ROW) {
      queueMicrotask(() => this.#drain());
      return;
    }
    setTimeout(() => {
      this.#inARow = 0;
      this.#drain();
    });
  }

  #drain(): void {
    this.#draining = false;
    this.#inARow += 1;
    try {
      this.step();
    } finally {
      if (this.#events.length > 0) this.#drainSoon();
    }
  }
}

function notADuration(milliseconds: number): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `the simulation's clock cannot advance by ${milliseconds} ms`, {
    hint: "it goes forward only, by a finite number of milliseconds",
  });
}

function notATime(nanoseconds: number): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${nanoseconds} is no time on the simulation's clock`, {
    hint: "a delay must be a finite number of milliseconds",
  });
}

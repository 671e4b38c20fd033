interface Event {
  readonly at: number;
  readonly callback: () => void;
}

/**
 * The simulation's own time, in milliseconds since power-on. It stands still except when something is due: waiting costs
 * nothing and every run is the same.
 */
export class Clock {
  #now = 0;
  #events: Event[] = [];
  #draining = false;

  get now(): number {
    return this.#now;
  }

  /** Calls back `delay` milliseconds from now; nobody need wait for it, it happens before the event loop turns. */
  after(delay: number, callback: () => void): void {
    const event = { at: this.#now + delay, callback };
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

  /** Lets time pass, doing what falls due. */
  advance(milliseconds: number): void {
    const end = this.#now + milliseconds;
    while (this.#events[0] !== undefined && this.#events[0].at <= end) this.step();
    this.#now = end;
  }

  #drainSoon(): void {
    if (this.#draining) return;
    this.#draining = true;
    queueMicrotask(() => {
      this.#draining = false;
      if (this.step() && this.#events.length > 0) this.#drainSoon();
    });
  }
}

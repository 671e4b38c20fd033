/** Lets at most a number of asynchronous calls run at once; the others wait, and start in the order they came. */
export class CallQueue {
  readonly #most: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(most: number) {
    this.#most = most;
  }

  async run<T>(call: () => Promise<T>): Promise<T> {
    if (this.#running === this.#most) await new Promise<void>((start) => this.#waiting.push(start));
    else this.#running += 1;
    try {
      return await call();
    } finally {
      // The place goes to whoever waits longest, or becomes free.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}

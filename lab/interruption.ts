import { constants } from "node:os";

/** How a user ends a program that has processes and half-written files to look after. */
export class Interruption {
  readonly #ended = new AbortController();
  #code = 0;

  /** Listens to signals: the first stops what is done and has it cleaned up, the second one acts as usual. */
  constructor() {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => this.end(signal));
  }

  /** Fires when the program is to end. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** The exit code that says by which signal it ended, as shells have it; 0 as long as none came. */
  get code(): number {
    return this.#code;
  }

  /** As if the signal had come. */
  end(signal: "SIGINT" | "SIGTERM" | "SIGHUP" | "SIGPIPE"): void {
    this.#code = 128 + constants.signals[signal];
    this.#ended.abort();
  }
}

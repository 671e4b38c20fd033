import type { Host } from "../lab/host.js";

/** Lines that a log gets, where there is no terminal to write a counter on. */
const LOG_LINES = 4;

/** Tells on stderr how far something is. */
export class Progress {
  readonly #host: Host;
  readonly #what: string;
  readonly #total: number;
  readonly #isTerminal = process.stderr.isTTY === true;
  #done = 0;

  constructor(host: Host, what: string, total: number) {
    this.#host = host;
    this.#what = what;
    this.#total = total;
  }

  advance(): void {
    this.#done++;
    const line = `${this.#done} of ${this.#total} ${this.#what}`;
    if (this.#isTerminal) process.stderr.write(`\r${line}`);
    else if (this.#done % Math.ceil(this.#total / LOG_LINES) === 0) this.#host.say(line);
  }

  end(): void {
    if (this.#isTerminal) process.stderr.write("\r\x1b[K");
  }
}

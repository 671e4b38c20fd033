import type { OutputStream } from "./streams.js";
import type { Environment } from "./text/colours.js";
import { outputWidth, STANDARD_WIDTH } from "./text/output-width.js";
import { shorten } from "./text/width.js";

/** What takes less is over before anybody wonders. */
const PATIENCE_MS = 500;
const ERASE_LINE = "\r\u001b[2K";

/**
 * A line on a terminal that says what is going on, once it takes more than half a second. It is gone when {@link done}, and
 * nothing of it ever reaches a file, or a terminal that cannot erase a line.
 */
export class Progress {
  readonly #stream: OutputStream;
  readonly #env: Environment;
  readonly #start = performance.now();
  readonly #isAble: boolean;
  #shown = false;

  constructor(stream: OutputStream, env: Environment) {
    const { TERM } = env;
    this.#stream = stream;
    this.#env = env;
    this.#isAble = stream.isTTY === true && TERM !== "dumb";
  }

  /** Says what comes next. Gives the terminal a chance to show it, since the simulation leaves none. */
  async say(what: string): Promise<void> {
    if (!this.#isAble || performance.now() - this.#start < PATIENCE_MS) return;
    // Terminals wrap at their last column.
    const columns = Math.min(this.#stream.columns ?? STANDARD_WIDTH, outputWidth(this.#stream, this.#env)) - 1;
    this.#stream.write(`${ERASE_LINE}${shorten(`${what} …`, columns)}`);
    this.#shown = true;
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Takes the line away. */
  done(): void {
    if (this.#shown) this.#stream.write(ERASE_LINE);
    this.#shown = false;
  }
}

/**
 * The asynchronous calls that use a descriptor. A call names the descriptor by its number, also while it waits for its turn: closed
 * before that, the number may be another file's by then.
 */
export class CallsUnderWay {
  readonly #calls = new Set<Promise<unknown>>();

  /** Runs a call that uses the descriptor. */
  async run<T>(call: () => Promise<T>): Promise<T> {
    const running = call();
    this.#calls.add(running);
    try {
      return await running;
    } finally {
      this.#calls.delete(running);
    }
  }

  /** Resolves when none is under way, those that begin meanwhile included; however they end. */
  async ended(): Promise<void> {
    while (this.#calls.size > 0) await Promise.allSettled(this.#calls);
  }

  /**
   * Takes the step that ends the descriptor: at once, throwing what it throws, or after the last call. Nobody is told how it went
   * then; closing one of VFIO's files answers nothing (drivers/vfio/group.c, vfio_group_fops_release).
   */
  last(step: () => void): void {
    if (this.#calls.size === 0) {
      step();
      return;
    }
    this.ended()
      .then(step)
      .catch(() => {});
  }
}

import type { Fd, Syscalls } from "../syscalls/syscalls.js";
import { type About, unexplained } from "./refusal.js";

/** What one turn of the loop over an interrupt gets. */
export interface InterruptEvent {
  /**
   * How often it fired since the last turn, at least 1. A level-triggered one stays masked in between, so it is 1.
   * May include one that never was: see {@link Interrupt}.
   */
  readonly count: number;
}

/** How an interrupt is listened to. */
export interface InterruptOptions {
  /** Ends the loop with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** What an interrupt needs of the device it belongs to. */
export interface InterruptLine {
  /** For messages: `MSI 0 of 0000:02:00.0`. */
  readonly label: string;
  /** For errors: the device it belongs to. */
  readonly about: About;
  /** Opens a masked line again; does nothing for those the kernel does not mask. */
  unmask(): void;
  /** Takes the eventfd away from the device. */
  disarm(): void;
}

interface Waiter {
  resolve(result: IteratorResult<InterruptEvent, undefined>): void;
  reject(reason: unknown): void;
}

/**
 * An interrupt on an eventfd, as a loop: `for await (const { count } of device.interrupt("msi", 0))`. It is armed from the
 * moment it is asked for, so none is missed between starting a job and waiting for it. Leaving the loop disarms it, and so
 * does the end of a `using` block, which also covers a loop that ends with an error of {@link next}.
 *
 * A level-triggered line (INTx, most platform interrupts) is masked by the kernel when it fires and opened again when the
 * loop asks for the next one: quiet the device in the loop's body. It is open as well when it is armed anew; while the device
 * still holds it, it fires at once then.
 *
 * Be ready for a turn without an interrupt of the device: where the kernel cannot add vectors to those in use (MSI; MSI-X
 * before Linux 6.5), listening to a vector above all others of its kind switches these off for a moment. As they may have
 * fired in it, each of them then counts one, whether it did or not.
 */
export class Interrupt implements AsyncIterableIterator<InterruptEvent, undefined>, AsyncDisposable, Disposable {
  readonly #syscalls: Syscalls;
  readonly #line: InterruptLine;
  readonly #signal: AbortSignal | undefined;
  readonly #eventfd: Fd;
  readonly #waiters: Waiter[] = [];
  #unwatch: () => void = () => {};
  #pending = 0;
  #masked = false;
  #closed = false;
  #failure: { readonly reason: unknown } | undefined;

  private constructor(syscalls: Syscalls, line: InterruptLine, eventfd: Fd, signal: AbortSignal | undefined) {
    this.#syscalls = syscalls;
    this.#line = line;
    this.#eventfd = eventfd;
    this.#signal = signal;
  }

  /**
   * @internal Takes over `eventfd` and the armed line: both are given up again if this fails.
   */
  static listen(syscalls: Syscalls, line: InterruptLine, eventfd: Fd, signal: AbortSignal | undefined): Interrupt {
    const interrupt = new Interrupt(syscalls, line, eventfd, signal);
    interrupt.#unwatch = syscalls.watch(eventfd, interrupt.#fired);
    signal?.addEventListener("abort", interrupt.#aborted);
    return interrupt;
  }

  /**
   * The next time it fires, at once if it has fired since the last turn. `done` after {@link close}.
   * @throws the signal's reason once it is aborted; IospanError when the kernel took the interrupt away, which closes it.
   */
  next(): Promise<IteratorResult<InterruptEvent, undefined>> {
    if (this.#signal?.aborted) return this.#abort();
    if (this.#failure !== undefined) return Promise.reject(this.#failure.reason);
    if (this.#closed) return Promise.resolve({ done: true, value: undefined });
    if (this.#pending > 0) return Promise.resolve({ done: false, value: this.#take() });
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#unmask(reject);
    });
  }

  /** Ends the loop: `break` and errors in its body come here. */
  async return(): Promise<IteratorResult<InterruptEvent, undefined>> {
    this.close();
    return { done: true, value: undefined };
  }

  /**
   * Disarms the interrupt and ends a loop that waits for it. A second call does nothing.
   * @throws IospanError the first thing that went wrong; it is closed all the same.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#signal?.removeEventListener("abort", this.#aborted);
    for (const waiter of this.#waiters.splice(0)) waiter.resolve({ done: true, value: undefined });
    const failures: unknown[] = [];
    for (const step of [this.#unwatch, () => this.#line.disarm(), () => this.#syscalls.close(this.#eventfd)]) {
      try {
        step();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw unexplained(failures[0], `closing ${this.#line.label}`, this.#line.about);
  }

  /** @internal The line signals no more: every wait, now or later, is rejected with `reason`. */
  fail(reason: unknown): void {
    if (this.#closed) return;
    this.#failure = { reason };
    for (const waiter of this.#waiters.splice(0)) waiter.reject(reason);
    this.#closeQuietly();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  // Arrow functions: they are handed out as callbacks, and one is taken back by identity.
  readonly #fired = (): void => {
    if (this.#closed) return;
    try {
      this.#pending += this.#syscalls.readEventfd(this.#eventfd);
    } catch (error) {
      const reason = unexplained(error, `reading ${this.#line.label}`, this.#line.about);
      for (const waiter of this.#waiters.splice(0)) waiter.reject(reason);
      return;
    }
    if (this.#pending === 0) return;
    this.#masked = true;
    this.#waiters.shift()?.resolve({ done: false, value: this.#take() });
  };

  readonly #aborted = (): void => {
    for (const waiter of this.#waiters.splice(0)) waiter.reject(this.#signal?.reason);
    this.#closeQuietly();
  };

  #abort(): Promise<never> {
    this.#closeQuietly();
    return Promise.reject(this.#signal?.reason);
  }

  /** Who aborts is told so, and nothing else; what an event's listener throws would end the process. */
  #closeQuietly(): void {
    try {
      this.close();
    } catch {
      // The eventfd is closed all the same, and the line ends with the device.
    }
  }

  #take(): InterruptEvent {
    const count = this.#pending;
    this.#pending = 0;
    return { count };
  }

  #unmask(reject: (reason: unknown) => void): void {
    if (!this.#masked) return;
    try {
      this.#line.unmask();
      this.#masked = false;
    } catch (error) {
      this.#waiters.pop();
      reject(unexplained(error, `unmasking ${this.#line.label}`, this.#line.about));
    }
  }
}

import type { EventFd } from "../files/eventfd.js";
import type { Process } from "../process.js";
import { refuse } from "../refusal.js";
import { eventfdOf } from "./set-irqs.js";

/** An eventfd of the program's that acts on an interrupt when it is signalled (drivers/vfio/virqfd.c). */
export class VirqFd {
  readonly #process: Process;
  readonly #act: () => void;
  #eventfd: EventFd | undefined;
  #unwatch: () => void = () => {};

  constructor(process: Process, act: () => void) {
    this.#process = process;
    this.#act = act;
  }

  /** @param fd negative: none from now on */
  set(fd: number): void {
    if (fd < 0) {
      this.disable();
      return;
    }
    const eventfd = eventfdOf(this.#process, fd);
    if (this.#isOpen) refuse("EBUSY");
    this.#eventfd = eventfd;
    this.#unwatch =
      eventfd?.watch(() => {
        // The kernel reads it, so the program never sees what it signalled.
        if (eventfd.take() > 0) this.#act();
      }) ?? this.#unwatch;
  }

  disable(): void {
    this.#unwatch();
    this.#eventfd = undefined;
  }

  /** Closing the eventfd ends it, too. */
  get #isOpen(): boolean {
    return this.#process.fds.entries().some(([, file]) => file === this.#eventfd);
  }
}

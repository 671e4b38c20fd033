import { refuse } from "../refusal.js";
import { OpenFile } from "./open-file.js";

/** The largest count is one below 2^64-1; nobody counts beyond what a number holds exactly. */
const MOST = Number.MAX_SAFE_INTEGER;

/** eventfd(2), non-blocking. */
export class EventFd extends OpenFile {
  readonly path = "anon_inode:[eventfd]";
  readonly #watchers = new Set<() => void>();
  #count = 0;
  #notifying = false;

  protected release(): void {
    this.#watchers.clear();
  }

  /** Adds to the counter, as a write and as an interrupt do. */
  signal(count: number): void {
    if (!Number.isSafeInteger(count) || count < 0) refuse("EINVAL");
    if (this.#count + count > MOST) refuse("EAGAIN");
    this.#count += count;
    this.#notifySoon();
  }

  /** Reads and clears the counter; 0 for a read that would block. */
  take(): number {
    const count = this.#count;
    this.#count = 0;
    return count;
  }

  watch(callback: () => void): () => void {
    // A callback may be given twice; each gets its own end.
    const watcher = () => callback();
    this.#watchers.add(watcher);
    this.#notifySoon();
    return () => this.#watchers.delete(watcher);
  }

  /** Like an event loop: never in the midst of the call that signals, once for several signals. */
  #notifySoon(): void {
    if (this.#notifying || this.#count === 0 || this.#watchers.size === 0) return;
    this.#notifying = true;
    queueMicrotask(() => {
      this.#notifying = false;
      for (const watcher of [...this.#watchers]) {
        if (this.#count > 0 && this.#watchers.has(watcher)) watcher();
      }
    });
  }
}

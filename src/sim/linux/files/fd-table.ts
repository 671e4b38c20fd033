import type { Fd } from "../../../syscalls/syscalls.js";
import { refuse } from "../refusal.js";
import type { OpenFile } from "./open-file.js";

/** A process's descriptors. */
export class FdTable {
  readonly #files = new Map<number, OpenFile>();
  readonly #limit: number;

  /** @param limit RLIMIT_NOFILE */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Open descriptors in ascending order. */
  entries(): readonly (readonly [fd: Fd, file: OpenFile])[] {
    return [...this.#files].map(([fd, file]) => [fd as Fd, file] as const).sort(([a], [b]) => a - b);
  }

  /** The lowest free number, which is not taken by that yet. */
  free(): Fd {
    // 0, 1 and 2 are the terminal.
    let fd = 3;
    while (this.#files.has(fd)) fd++;
    return fd < this.#limit ? (fd as Fd) : refuse("EMFILE");
  }

  /** Gives an open file its number. */
  install(file: OpenFile): Fd {
    const fd = this.free();
    this.#files.set(fd, file);
    return fd;
  }

  isOpen(fd: number): boolean {
    return this.#files.has(fd);
  }

  get(fd: number): OpenFile {
    return this.#files.get(fd) ?? refuse("EBADF");
  }

  close(fd: Fd): void {
    const file = this.get(fd);
    this.#files.delete(fd);
    file.put();
  }
}

import { failuresOf } from "./failures.js";

/** Somebody who has a region's registers for something else than the process's own accesses: a mapping for other devices. */
export interface RegionUser {
  /** What it is, for messages: "the mapping at IOVA 0x1000". */
  readonly what: string;
  /** The registers go: the use has to end before. @returns what went wrong. */
  end(): readonly unknown[];
}

/** Who uses a region's registers while its device is open. */
export class RegionUsers {
  readonly #users = new Set<RegionUser>();

  /** What they are, for messages. */
  get names(): readonly string[] {
    return Array.from(this.#users, ({ what }) => what);
  }

  add(user: RegionUser): void {
    this.#users.add(user);
  }

  delete(user: RegionUser): void {
    this.#users.delete(user);
  }

  /** Ends every use, whatever goes wrong on the way. @returns what went wrong. */
  endAll(): readonly unknown[] {
    const users = [...this.#users];
    this.#users.clear();
    const failures: unknown[] = [];
    const thrown = failuresOf(...users.map((user) => () => failures.push(...user.end())));
    return [...failures, ...thrown];
  }
}

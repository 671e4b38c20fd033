/** Somebody who has a region's registers for something else than the process's own accesses: a mapping for other devices. */
export interface RegionUser {
  /** What it is, for messages: "the mapping at IOVA 0x1000". */
  readonly what: string;
  /** The registers go: the use has to end before, once what is under way with them is done. @returns what went wrong. */
  end(): Promise<readonly unknown[]>;
  /** The device was reset, or that was tried: the kernel may have taken the registers away. */
  revoke(): void;
}

/** Who uses a region's registers while its device is open. */
export class RegionUsers {
  readonly #users = new Set<RegionUser>();
  #ending: Promise<void> | undefined;
  #failures: readonly unknown[] = [];

  /** What they are, for messages. */
  get names(): readonly string[] {
    return Array.from(this.#users, ({ what }) => what);
  }

  /** They have to end, or have: there may be no others. */
  get ended(): boolean {
    return this.#ending !== undefined;
  }

  add(user: RegionUser): void {
    this.#users.add(user);
  }

  delete(user: RegionUser): void {
    this.#users.delete(user);
  }

  /** Ends every use, whatever goes wrong on the way, which {@link failures} tells then. A second call waits for the first. */
  endAll(): Promise<void> {
    this.#ending ??= this.#endAll();
    return this.#ending;
  }

  /** What went wrong when they were ended. */
  get failures(): readonly unknown[] {
    return this.#failures;
  }

  /** Tells all of them that the kernel may have taken the registers away. */
  revokeAll(): void {
    for (const user of this.#users) user.revoke();
  }

  async #endAll(): Promise<void> {
    const outcomes = await Promise.allSettled(Array.from(this.#users, (user) => user.end()));
    this.#users.clear();
    this.#failures = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? outcome.value : [outcome.reason]));
  }
}

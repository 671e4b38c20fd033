import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, join, resolve } from "node:path";
import type { Host } from "./host.js";
import { withLock } from "./lock.js";

const DAY = 24 * 3600 * 1000;

/**
 * The folder where everything is kept that the lab downloads and builds.
 *
 * Guarantees: an entry is complete or absent, whenever the lab was interrupted; whatever is deleted here is made again.
 */
export class Cache {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async open(): Promise<Cache> {
    const home = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
    const cache = new Cache(resolve(process.env["IOSPAN_LAB_CACHE"] || join(home, "iospan-lab")));
    await mkdir(cache.folder, { recursive: true });
    return cache;
  }

  /** The folder an entry has, or would have: its name carries a digest of what it was made from. */
  entryPath(name: string, inputs: readonly string[]): string {
    const digest = createHash("sha256").update(JSON.stringify(inputs)).digest("hex").slice(0, 12);
    return join(this.folder, `${name}@${digest}`);
  }

  /** The entry made from these inputs; built first when it does not exist, or when `renew` asks for it. */
  async entry(
    name: string,
    inputs: readonly string[],
    renew: boolean,
    build: (folder: string) => Promise<void>,
  ): Promise<string> {
    const path = this.entryPath(name, inputs);
    if (!renew && (await exists(path))) {
      const now = new Date();
      await utimes(path, now, now);
      return path;
    }
    const draft = await this.scratch();
    try {
      await build(draft);
      await this.#publish(draft, path);
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
    await this.#prune(name, path);
    return path;
  }

  /** A new empty folder that lives as long as this process: the next lab removes what a killed one left. */
  scratch(): Promise<string> {
    return mkdtemp(join(this.folder, `tmp-${process.pid}-`));
  }

  /** Only one lab at a time fills the cache. */
  prepare<T>(host: Host, work: () => Promise<T>): Promise<T> {
    return withLock(host, join(this.folder, "lock"), async () => {
      await this.#sweep();
      return work();
    });
  }

  async #publish(draft: string, path: string): Promise<void> {
    const old = await this.scratch();
    // A folder cannot be renamed over another that has files, so the old one steps aside first.
    if (await exists(path)) await rename(path, join(old, basename(path)));
    await rename(draft, path);
    await rm(old, { recursive: true, force: true });
  }

  /** Removes what a lab left behind that was killed half-way. */
  async #sweep(): Promise<void> {
    for (const file of await readdir(this.folder)) {
      const owner = /^tmp-(\d+)-/.exec(file)?.[1];
      if (owner === undefined || isAlive(Number(owner))) continue;
      await rm(join(this.folder, file), { recursive: true, force: true });
    }
  }

  /** Removes entries of the same name made from other inputs, unless a guest may still be using them. */
  async #prune(name: string, keep: string): Promise<void> {
    for (const file of await readdir(this.folder)) {
      const path = join(this.folder, file);
      if (!file.startsWith(`${name}@`) || path === keep) continue;
      const { mtimeMs } = await stat(path);
      if (Date.now() - mtimeMs > DAY) await rm(path, { recursive: true, force: true });
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { type Host, LabError } from "./host.js";

/**
 * Holds a lock on the file while `work` runs, after waiting for whoever has it.
 *
 * The lock belongs to a small process that ends when its stdin does, so it is free as soon as this program is gone, even
 * when it was killed. In its own process group, since Ctrl-C must not free the lock before this program has tidied up.
 */
export async function withLock<T>(host: Host, file: string, work: () => Promise<T>): Promise<T> {
  const script = ["--no-fork", file, "sh", "-c", "echo locked; exec cat"];
  const keeper = spawn("flock", script, { stdio: ["pipe", "pipe", "inherit"], detached: true });
  const gone = once(keeper, "close");
  const giveUp = (): void => void keeper.kill();
  host.signal.addEventListener("abort", giveUp);
  try {
    if (!(await hasLock(keeper.stdout, gone, host))) throw new LabError(`cannot lock ${file}`);
    host.signal.removeEventListener("abort", giveUp);
    return await work();
  } finally {
    host.signal.removeEventListener("abort", giveUp);
    keeper.stdin.end();
    await gone;
  }
}

async function hasLock(stdout: Readable, gone: Promise<unknown>, host: Host): Promise<boolean> {
  const locked = once(stdout, "data").then(() => true);
  const lost = gone.then(() => false);
  const slow = sleep(1000, undefined, { ref: false });
  const first = await Promise.race([locked, lost, slow]);
  if (first !== undefined) return first;
  host.say("waiting for another lab that fills the cache …");
  return Promise.race([locked, lost]);
}

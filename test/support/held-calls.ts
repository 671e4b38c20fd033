import type { Syscalls } from "iospan";
import { intercepted } from "../../src/syscalls/intercepted.js";

/** A kernel whose asynchronous ioctls of one kind wait for their turn, as they do when the pool of threads is at work. */
export interface HeldCalls {
  readonly syscalls: Syscalls;
  /** What was done, in order: the name of such an ioctl, and of every close, with the descriptor. */
  readonly log: readonly string[];
  /** The waiting calls have their turn. */
  release(): void;
}

export function holding(kernel: Syscalls, ioctl: string): HeldCalls {
  const log: string[] = [];
  const noted = intercepted(kernel, (call, proceed) => {
    if (call.name === "close" || call.ioctl?.name === ioctl) log.push(`${call.ioctl?.name ?? call.name} ${call.fd}`);
    return proceed();
  });
  let release = () => {};
  const turn = new Promise<void>((resolve) => {
    release = resolve;
  });
  const ioctlAsync: Syscalls["ioctlAsync"] = async (fd, call, argument) => {
    if (call.name === ioctl) await turn;
    return noted.ioctlAsync(fd, call, argument);
  };
  return { syscalls: { ...noted, ioctlAsync }, log, release: () => release() };
}

/** Time for whatever does not wait. */
export const aWhile = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 2));

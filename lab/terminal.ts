import type { Duplex } from "node:stream";

/** Ctrl-], as in telnet: leaves even when the guest no longer answers. */
const LEAVE = 0x1d;

/** Joins the user's terminal with the guest's until one of them ends; resolves early when the user leaves. */
export function joinTerminal(guest: Duplex): { readonly left: Promise<void>; readonly release: () => void } {
  const { stdin, stdout } = process;
  const raw = stdin.isTTY === true;
  // Raw: Ctrl-C, Ctrl-Z and the arrow keys belong to the guest's shell.
  if (raw) stdin.setRawMode(true);
  guest.pipe(stdout, { end: false });
  let forward: (chunk: Buffer) => void = () => {};
  const left = new Promise<void>((resolve) => {
    forward = (chunk) => {
      if (raw && chunk.includes(LEAVE)) resolve();
      else guest.write(chunk);
    };
    stdin.on("data", forward);
  });
  const release = (): void => {
    stdin.off("data", forward);
    if (raw) stdin.setRawMode(false);
    stdin.pause();
  };
  return { left, release };
}

/** What a command's exit code says. */
export const EXIT = {
  /** Everything is as it should be. */
  ok: 0,
  /** The command ran, and found something that is not as it should be. */
  unexpected: 1,
  /** The command line or its input is wrong; nothing was done. */
  usage: 2,
  /** iospan itself is wrong: EX_SOFTWARE of sysexits.h. */
  bug: 70,
} as const;

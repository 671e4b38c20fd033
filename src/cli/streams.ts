import type { Environment } from "./text/colours.js";

/** Where a command writes: `process.stdout` and `process.stderr`, or what a test has instead. */
export interface OutputStream {
  readonly isTTY?: boolean | undefined;
  /** Characters of a terminal's line. */
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

/** What a command has around it. */
export interface Streams {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** Environment variables. */
  readonly env: Environment;
}

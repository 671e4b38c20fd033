import { CommanderError } from "commander";
import { IospanError } from "../errors.js";
import type { OutputStream, Streams } from "./streams.js";
import { painter, wantsColours } from "./text/colours.js";
import { bad, faint, line, WIDTH } from "./text/line.js";
import { wrap } from "./text/wrap.js";

/** Why a command did nothing: what is wrong with its command line or its input, and what to do about it. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

/**
 * The failure that an error stands for; undefined for an error that is nobody's input.
 * @param command whose help says more: `iospan`, `iospan demo`.
 */
export function failureOf(error: unknown, command: string): Failure | undefined {
  if (error instanceof CommanderError) return usageFailure(error, command);
  if (!(error instanceof IospanError)) return undefined;
  const { code, message, hint } = error;
  return { code, message, hint };
}

/** What went wrong with the standard output: the disk is full, for one. */
export function outputFailure({ message }: NodeJS.ErrnoException): Failure {
  return {
    code: "ERR_IOSPAN_INVALID_ARGUMENT",
    message: `cannot write to the standard output: ${message}`,
    hint: "send it to a file or a program that takes it",
  };
}

/** Whether a call of the system's failed, rather than the program. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "code" in error && "syscall" in error && !(error instanceof IospanError);
}

/** commander's text is a line, and one in parentheses where it has a guess. */
function usageFailure({ message }: CommanderError, command: string): Failure {
  const [first = "", guess] = message.replace(/^error: /, "").split("\n");
  const hint = guess?.replace(/^\((.*)\)$/, "$1") ?? `${command} --help shows what there is`;
  return { code: "ERR_IOSPAN_INVALID_ARGUMENT", message: first, hint };
}

/** Tells a failure: as JSON on the standard output, which then holds nothing else, or in words on the other one. */
export function report(failure: Failure, { stdout, stderr, env }: Streams, json: boolean): void {
  if (json) writeJson(stdout, { error: failure });
  else {
    const paint = painter(wantsColours(stderr, env));
    const lines = [
      ...wrap(line(bad("error: "), failure.message), WIDTH, 7),
      ...wrap(line(faint("hint:  "), failure.hint), WIDTH, 7),
    ];
    for (const each of lines) stderr.write(`${paint(each)}\n`);
  }
}

/** Writes a value as one document, indented for people. */
export function writeJson(stream: OutputStream, value: unknown): void {
  stream.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

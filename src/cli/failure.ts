import { CommanderError } from "commander";
import { IospanError } from "../errors.js";
import type { OutputStream, Streams } from "./streams.js";
import { type Environment, painter, wantsColours } from "./text/colours.js";
import { bad, faint, line } from "./text/line.js";
import { outputWidth } from "./text/output-width.js";
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
export async function failureOf(error: unknown, command: string): Promise<Failure | undefined> {
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

/** What stands for an error that is nobody's input: iospan is wrong. The trace is for those who ask for it. */
export function bugFailure(error: unknown, { IOSPAN_DEBUG = "" }: Environment): Failure {
  const wanted = IOSPAN_DEBUG !== "" && IOSPAN_DEBUG !== "0";
  const trace = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const [first = ""] = String(error).split("\n");
  return {
    code: "ERR_IOSPAN_BUG",
    message: `iospan did what it must not: ${wanted ? trace : first}`,
    hint: wanted
      ? "please report this, with the command line and the input"
      : "this is a bug of iospan's: please report it, with what the same command prints with IOSPAN_DEBUG=1",
  };
}

/** Whether a call of the system's failed, rather than the program. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "code" in error && "syscall" in error && !(error instanceof IospanError);
}

/** What commander says of a value that is none of those that there are, of an option or of an argument. */
const WRONG_OPTION = /^option '(?:-\w, )?(--[\w-]+)[^']*' argument '(.*)' is invalid\. Allowed choices are (.*)\.$/s;
const WRONG_ARGUMENT = /^command-argument value '(.*)' is invalid for argument '(.*)'\. Allowed choices are (.*)\.$/s;

/** commander's text is a line, and one in parentheses where it has a guess. */
async function usageFailure({ message }: CommanderError, command: string): Promise<Failure> {
  const text = message.replace(/^error: /, "");
  const [, option, ofOption = "", choices] = WRONG_OPTION.exec(text) ?? [];
  if (choices !== undefined) return wrongChoice(`${option} does not take`, ofOption, choices);
  const [, value = "", argument, shown] = WRONG_ARGUMENT.exec(text) ?? [];
  if (shown !== undefined) return wrongChoice(`${command} takes no ${argument}`, value, shown);
  const [first = "", guess] = text.split("\n");
  const hint = guess?.replace(/^\((.*)\)$/, "$1") ?? `${command} --help shows what there is`;
  return { code: "ERR_IOSPAN_INVALID_ARGUMENT", message: first, hint };
}

async function wrongChoice(what: string, value: string, text: string): Promise<Failure> {
  const { nearMisses } = await import("../machine/device-name.js");
  const choices = text.split(", ");
  const near = nearMisses(value, choices);
  const guess = near.length === 0 ? "" : `; did you mean ${near.join(" or ")}?`;
  const message = `${what} ${JSON.stringify(value)}${guess}`;
  return { code: "ERR_IOSPAN_INVALID_ARGUMENT", message, hint: `it takes ${choices.join(", ")}` };
}

/** Tells a failure: as JSON on the standard output, which then holds nothing else, or in words on the other one. */
export function report(failure: Failure, { stdout, stderr, env }: Streams, json: boolean): void {
  const { code, message, hint } = failure;
  if (json) writeJson(stdout, { error: { code, message, hint } });
  else {
    const paint = painter(wantsColours(stderr, env));
    const width = outputWidth(stderr, env);
    const [first = "", ...trace] = message.split("\n");
    const lines = [
      ...wrap(line(bad("error: "), first), width, 7),
      // A line of a trace is found again in its file as it is.
      ...trace.map((each) => line(`       ${each}`)),
      ...wrap(line(faint("hint:  "), hint), width, 7),
    ];
    for (const each of lines) stderr.write(`${paint(each)}\n`);
  }
}

/** Writes a value as one document, indented for people. */
export function writeJson(stream: OutputStream, value: unknown): void {
  stream.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

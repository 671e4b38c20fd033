import type { Refusal } from "../../binding/binding-world.js";
import { IospanError } from "../../errors.js";
import { report } from "../failure.js";
import type { OutputStream, Streams } from "../streams.js";
import { painter, wantsColours } from "../text/colours.js";
import { bad, faint, type Line, line, name, notice, WIDTH } from "../text/line.js";
import { lineWidth } from "../text/width.js";
import { wrap } from "../text/wrap.js";

/** Changes when a member changes its meaning or goes; new ones may come. */
export const VERSION = 1;

/** Writes lines, each in as many as the width takes. */
export function writeLines(stream: OutputStream, { env }: Streams, lines: readonly Line[]): void {
  const paint = painter(wantsColours(stream, env));
  for (const each of lines) stream.write(`${paint(each)}\n`);
}

/** A text for people, wrapped under its first word. */
export function paragraph(first: Line, text: string): readonly Line[] {
  return wrap(line(...first, text), WIDTH, lineWidth(first));
}

/** Each refusal, and below those that have the same way out, that. */
export function refusalLines(refusals: readonly Refusal[], word: string): readonly Line[] {
  const hints = [...new Set(refusals.map(({ hint }) => hint))];
  return hints.flatMap((hint) => [
    ...refusals
      .filter((each) => each.hint === hint)
      .flatMap(({ message }) => paragraph(line(bad(`${word}: `)), message)),
    ...paragraph(line(faint("hint: ".padEnd(word.length + 2))), hint),
  ]);
}

/** Things to know that stop nothing. */
export function noteLines(notes: readonly string[]): readonly Line[] {
  return notes.flatMap((each) => paragraph(line(notice("note: ")), each));
}

/** Commands as they are typed: a line that is too long is not broken. */
export function commandLines(commands: readonly string[]): readonly Line[] {
  return commands.map((each) => line("  ", each));
}

/** What could not be read, in a sentence; nothing where there is none of it. */
export function unreadNote(unread: readonly string[]): readonly string[] {
  if (unread.length === 0) return [];
  return [`not everything could be read, so more may hang on the devices than is told here: ${unread.join(", ")}`];
}

/** A device's name in a table. */
export function named(device: string, width: number): ReturnType<typeof name> {
  return name(device.padEnd(width));
}

/** Errors that mean the command line, which run() reports. */
const USAGE = ["ERR_IOSPAN_INVALID_ARGUMENT", "ERR_IOSPAN_NO_DEVICE"];

/** Tells a failure of the machine's, after which everything is as before. Others are thrown on. @returns whether it was told */
export function told(error: unknown, streams: Streams, json: boolean): boolean {
  if (!(error instanceof IospanError) || USAGE.includes(error.code)) return false;
  report(error, streams, json);
  return true;
}

/** Who is not root is told at once, before anything is looked at. */
export function notRoot(command: string): IospanError {
  return new IospanError("ERR_IOSPAN_NO_PERMISSION", `changing drivers needs root`, {
    hint: `sudo ${command}; or see what it would do: ${command.replace(/^iospan \w+/, "$& --dry-run")}`,
  });
}

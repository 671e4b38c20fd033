import type { EventEmitter } from "node:events";
import type { AddHelpTextContext, Command } from "commander";
import { line } from "./text/line.js";
import { STANDARD_WIDTH } from "./text/output-width.js";
import { wrap } from "./text/wrap.js";

/** What a command's help says after its options; its man page and its page in docs/commands are made of the same. */
export interface HelpSections {
  /** Paragraphs about how the command works. */
  readonly notes?: readonly string[];
  /** What each exit code means here, but for 70, which is a bug of iospan's whatever the command. */
  readonly exitCodes: Readonly<Record<number, string>>;
  readonly examples: readonly HelpExample[];
  /** What the examples are for, where they are more than that. */
  readonly examplesTitle?: string;
}

/** A command line as one would type it, and what it is good for. */
export type HelpExample = readonly [commandLine: string, purpose: string];

/** What commander wants for `addHelpText("after", …)`. */
export type HelpText = (context: AddHelpTextContext) => string;

const known = new WeakMap<Command, HelpSections>();

/** Commands' texts after their options: `.addHelpText("after", helpSections({ exitCodes, examples }))`. */
export function helpSections(sections: HelpSections): HelpText {
  return ({ command }) => {
    known.set(command, sections);
    return sectionsText(sections, command.configureOutput().getOutHelpWidth?.() ?? STANDARD_WIDTH);
  };
}

/** The sections that a command was given; undefined for one without. */
export function helpSectionsOf(command: Command): HelpSections | undefined {
  // commander keeps the text alone, which knows its command when it is asked for; that it is an emitter its types do not say.
  (command as Command & EventEmitter).emit("afterHelp", { error: false, command, write: () => {} });
  return known.get(command);
}

const MARGIN = "  ";
/** Columns of the longest command line that has its purpose beside it. */
const LONGEST_BESIDE = 48;

function sectionsText(
  { notes = [], exitCodes, examples, examplesTitle = "Examples" }: HelpSections,
  width: number,
): string {
  const column = Math.max(...Object.keys(exitCodes).map((code) => code.length));
  const codes = Object.entries(exitCodes).map(([code, meaning]) => item(code, meaning, column, width));
  const widths = examples.map(([commandLine]) => commandLine.length).filter((length) => length <= LONGEST_BESIDE);
  const beside = Math.max(0, ...widths);
  const paragraphs = notes.map((note) => `\n${wrapped(note, width, 0)}\n`);
  const shown = examples.map(([commandLine, purpose]) => item(commandLine, purpose, beside, width));
  return `${paragraphs.join("")}\nExit code:\n${codes.join("\n")}\n\n${examplesTitle}:\n${shown.join("\n")}\n`;
}

/** A term and what it means, beside it where there is room, else below. */
function item(term: string, meaning: string, column: number, width: number): string {
  const indent = column + 2 * MARGIN.length;
  const isBeside = term.length <= column && indent + meaning.length <= width;
  if (isBeside || term.length < 4) return wrapped(`${MARGIN}${term.padEnd(column)}${MARGIN}${meaning}`, width, indent);
  return `${MARGIN}${term}\n${wrapped(`${MARGIN.repeat(3)}${meaning}`, width, 3 * MARGIN.length)}`;
}

function wrapped(text: string, width: number, indent: number): string {
  const lines = wrap(line(text), width, indent);
  return lines.map((each) => each.map(({ text }) => text).join("")).join("\n");
}

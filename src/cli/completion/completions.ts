import type { Command } from "commander";
import { CommandWords } from "./command-words.js";
import { type Candidate, isList, valuesFor } from "./values.js";

/**
 * What may stand where the cursor is, a line each: the word, and after a tab what it is. Where files may, the last line is
 * `:files` or `:folders`, and after a tab what stands before the file in its word.
 * @param words those until the cursor, the program aside; the last is the one that the cursor is in, as far as it goes
 */
export async function completions(words: readonly string[], program: Command): Promise<string> {
  const current = words.at(-1) ?? "";
  const at = new CommandWords(words.slice(0, -1), program);
  const { candidates, paths, before } = await completionsAt(at, current);
  const fitting = candidates.filter(({ value }) => value.startsWith(current));
  const lines = fitting.map(({ value, text }) => `${value}\t${text}`);
  return [...lines, ...(paths === undefined ? [] : [`:${paths}\t${before}`])].map((each) => `${each}\n`).join("");
}

interface Completions {
  readonly candidates: readonly Candidate[];
  readonly paths?: "files" | "folders" | undefined;
  /** What stands before the value in its word. */
  readonly before: string;
}

async function completionsAt(at: CommandWords, current: string): Promise<Completions> {
  if (at.expecting !== undefined) return takenBy(at.expecting, { current, before: "" }, at);
  const [, flag = ""] = (at.isEnded ? null : /^(--[^=]+)=/.exec(current)) ?? [];
  const option = at.option(flag);
  if (option !== undefined) return takenBy(option, { current, before: `${flag}=` }, at);
  if (current.startsWith("-") && !at.isEnded) return { candidates: at.options(), before: "" };
  const argument = at.argument;
  if (argument !== undefined) return takenBy(argument, { current, before: "" }, at);
  // Where nothing else may come, options are what is left.
  const commands = at.commands();
  return { candidates: commands.length > 0 || at.isEnded ? commands : at.options(), before: "" };
}

async function takenBy(
  asked: Parameters<typeof valuesFor>[0],
  word: { readonly current: string; readonly before: string },
  { sources }: CommandWords,
): Promise<Completions> {
  // Of a list, the last is completed.
  const start = isList(asked) ? Math.max(word.before.length, word.current.lastIndexOf(",") + 1) : word.before.length;
  const before = word.current.slice(0, start);
  const { candidates, paths } = await valuesFor(asked, word.current.slice(start), sources);
  return { candidates: candidates.map(({ value, text }) => ({ value: before + value, text })), paths, before };
}

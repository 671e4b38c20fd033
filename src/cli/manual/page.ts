import type { Command } from "commander";
import { type HelpSections, helpSectionsOf } from "../help-sections.js";

/** A term and what it means. */
export interface Entry {
  readonly term: string;
  readonly text: string;
}

/** What there is to say of a command, however it is laid out. Its help is made of the same definition. */
export interface Page {
  /** `iospan`, `iospan topology`. */
  readonly name: string;
  readonly summary: string;
  readonly usage: string;
  readonly description: string;
  readonly notes: readonly string[];
  readonly args: readonly Entry[];
  readonly options: readonly Entry[];
  readonly commands: readonly Entry[];
  readonly exitCodes: readonly Entry[];
  readonly examplesTitle: string;
  readonly examples: readonly Entry[];
}

const BUG = { term: "70", text: "iospan itself is wrong: please report it, with what IOSPAN_DEBUG=1 shows" } as const;

/** The page of a command. */
export function pageOf(command: Command): Page {
  const help = command.createHelp();
  const sections = helpSectionsOf(command);
  const {
    notes = [],
    exitCodes = {},
    examples = [],
    examplesTitle = "Examples",
  }: Partial<HelpSections> = sections ?? {};
  return {
    name: help.commandUsage(command).split(/ [<[]/)[0] ?? command.name(),
    summary: (command.summary() || command.description()).replace(/\.$/, ""),
    usage: help.commandUsage(command),
    description: help.commandDescription(command),
    notes,
    args: help.visibleArguments(command).map((each) => ({
      term: help.argumentTerm(each),
      text: help.argumentDescription(each),
    })),
    options: help.visibleOptions(command).map((each) => ({
      term: help.optionTerm(each),
      text: help.optionDescription(each),
    })),
    commands: commandsOf(command).map((each) => ({ term: each.name(), text: help.subcommandDescription(each) })),
    exitCodes: [...Object.entries(exitCodes).map(([term, text]) => ({ term, text })), BUG].filter(
      ({ term }, index, all) => all.findIndex((each) => each.term === term) === index,
    ),
    examplesTitle,
    examples: examples.map(([term, text]) => ({ term, text })),
  };
}

/** A command's commands that have a page; `help` needs none. */
export function commandsOf(command: Command): readonly Command[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .filter((each) => each.name() !== "help");
}

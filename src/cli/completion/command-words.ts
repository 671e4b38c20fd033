import type { Argument, Command, Option } from "commander";
import type { SourceFlags } from "../machine-source.js";
import type { Candidate } from "./values.js";

const SOURCES = ["sysfs", "deviceTree", "iort", "machine"] as const satisfies readonly (keyof SourceFlags)[];

/** The words of a command line before the one that is completed, understood by the commands' definitions. */
export class CommandWords {
  /** The option whose value comes next. */
  expecting: Option | undefined;
  /** Whether `--` was there, after which there are no options. */
  isEnded = false;
  /** The machine or firmware that was named. */
  readonly sources: { -readonly [name in keyof SourceFlags]: string } = {};
  readonly #program: Command;
  #command: Command;
  #operands = 0;
  /** Whether `help` was there, which takes a command. */
  #isHelp = false;
  readonly #given = new Set<Option>();

  constructor(words: readonly string[], program: Command) {
    this.#program = program;
    this.#command = program;
    for (const word of words) this.#take(word);
  }

  /** The option that a flag is, here. */
  option(flag: string): Option | undefined {
    return this.#options().find(({ long, short }) => flag !== "" && (flag === long || flag === short));
  }

  /** The argument that comes next. */
  get argument(): Argument | undefined {
    const all = this.#command.registeredArguments;
    const last = all.at(-1);
    return all[this.#operands] ?? (last?.variadic ? last : undefined);
  }

  /** The options that may come; a switch that is there already does not come again. */
  options(): readonly Candidate[] {
    if (this.#isHelp) return [];
    const again = (option: Option) => option.required || option.optional || !this.#given.has(option);
    return this.#options()
      .filter((option) => !option.hidden && again(option))
      .map(({ long, short, description }) => ({ value: long ?? short ?? "", text: description }));
  }

  /** The commands that may come. */
  commands(): readonly Candidate[] {
    if (this.#operands > 0) return [];
    const visible = this.#program.createHelp().visibleCommands(this.#command);
    const commands = visible.map((each) => ({ value: each.name(), text: each.summary() || each.description() }));
    return this.#isHelp ? commands.filter(({ value }) => value !== "help") : commands;
  }

  #options(): readonly Option[] {
    return this.#command.createHelp().visibleOptions(this.#command);
  }

  #take(word: string): void {
    if (this.expecting !== undefined) this.#value(this.expecting, word);
    else if (word === "--") this.isEnded = true;
    else if (this.isEnded || word === "-" || !word.startsWith("-")) this.#operand(word);
    else if (word.startsWith("--")) this.#long(word);
    else this.#short(word);
  }

  #value(option: Option, value: string): void {
    this.expecting = undefined;
    const source = SOURCES.find((each) => each === option.attributeName());
    if (source !== undefined) this.sources[source] = value;
  }

  #long(word: string): void {
    const [, flag = "", value] = /^([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
    this.#flag(this.option(flag), value);
  }

  /** `-w`, `-fdot`, or several in one: `-wf dot`. */
  #short(word: string): void {
    const option = this.option(word.slice(0, 2));
    const rest = word.slice(2);
    const takesValue = option?.required || option?.optional;
    this.#flag(option, takesValue && rest !== "" ? rest : undefined);
    if (!takesValue && rest !== "") this.#short(`-${rest}`);
  }

  #flag(option: Option | undefined, value: string | undefined): void {
    if (option === undefined) return;
    this.#given.add(option);
    if (value !== undefined) this.#value(option, value);
    else if (option.required) this.expecting = option;
  }

  #operand(word: string): void {
    const command = this.#command.commands.find((each) => each.name() === word || each.aliases().includes(word));
    if (this.#operands > 0 || this.#isHelp) this.#operands += 1;
    else if (command !== undefined) this.#command = command;
    else if (word === "help" && this.#command === this.#program) this.#isHelp = true;
    else this.#operands += 1;
  }
}

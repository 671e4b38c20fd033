import { type Command, CommanderError } from "commander";
import { commandLine } from "./command-line.js";
import { COMPLETE } from "./completion.js";
import { EXIT } from "./exit-code.js";
import { bugFailure, failureOf, isSystemError, report } from "./failure.js";
import type { Streams } from "./streams.js";
import { setWidth } from "./text/line.js";
import { outputWidth } from "./text/output-width.js";

/**
 * The command line, without the process around it.
 * @param typed the arguments, without `node` and the program.
 * @returns the exit code, one of {@link EXIT}.
 * @throws what the system has against being written to, which is the process's to tell.
 */
export async function run(typed: readonly string[], streams: Streams): Promise<number> {
  // Before a command there are no operands that -- could begin.
  const start = typed.findIndex((each) => each !== "--");
  const argv = start < 0 ? [] : typed.slice(start);
  let exitCode: number = EXIT.ok;
  setWidth(outputWidth(streams.stdout, streams.env));
  const program = commandLine(streams, (code) => {
    exitCode = code;
  });
  try {
    await obey(argv, program, streams);
    return exitCode;
  } catch (error) {
    return await failed(error, argv, program, streams);
  }
}

async function obey(argv: readonly string[], program: Command, streams: Streams): Promise<void> {
  const [first, ...rest] = argv;
  if (first === undefined) program.outputHelp();
  else if (first === COMPLETE) await complete(rest, program, streams);
  else await program.parseAsync(known(argv, program), { from: "user" });
}

/** What shells ask for. It is not a command, since commander would take the words for its own. */
async function complete(words: readonly string[], program: Command, { stdout }: Streams): Promise<void> {
  const { completions } = await import("./completion/completions.js");
  stdout.write(await completions(words, program));
}

/** Tells why a command did nothing, or what broke it. @returns the exit code */
async function failed(error: unknown, argv: readonly string[], program: Command, streams: Streams): Promise<number> {
  // --help and --version end here, too.
  if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
  const failure = await failureOf(error, commandName(argv, program));
  if (failure === undefined && isSystemError(error) && error.syscall === "write") throw error;
  report(failure ?? bugFailure(error, streams.env), streams, wantsJson(argv));
  return failure === undefined ? EXIT.bug : EXIT.usage;
}

/** Whether what the command would have printed is JSON, so that what keeps it from that is, too. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  const options = end < 0 ? argv : argv.slice(0, end);
  return options.includes("--json") || / (--format[ =]|-f[ =]?)json /.test(` ${options.join(" ")} `);
}

/** commander has no words for `help` on what does not exist; on the command itself it has. */
function known(argv: readonly string[], program: Command): readonly string[] {
  const [first, ...rest] = argv;
  const wanted = rest.find((each) => !each.startsWith("-"));
  if (first !== "help" || wanted === undefined || isCommand(wanted, program)) return argv;
  return [wanted];
}

/** What the user was about to run. */
function commandName([first = ""]: readonly string[], program: Command): string {
  return isCommand(first, program) ? `${program.name()} ${first}` : program.name();
}

function isCommand(name: string, { commands }: Command): boolean {
  return commands.some((command) => command.name() === name);
}

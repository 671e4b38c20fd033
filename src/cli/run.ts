import { Command, CommanderError } from "commander";
import { addDemo } from "./demo.js";
import { EXIT } from "./exit-code.js";
import { failureOf, report } from "./failure.js";
import { addFaults } from "./faults.js";
import { packageVersion } from "./package-files.js";
import type { Streams } from "./streams.js";
import { painter, wantsColours } from "./text/colours.js";
import { line, name, strong, WIDTH } from "./text/line.js";
import { addTopology } from "./topology.js";

/**
 * The command line, without the process around it.
 * @param argv the arguments, without `node` and the program.
 * @returns the exit code, one of {@link EXIT}.
 */
export async function run(argv: readonly string[], streams: Streams): Promise<number> {
  let exitCode: number = EXIT.ok;
  const program = commandLine(streams);
  const finish = (code: number) => {
    exitCode = code;
  };
  addDemo(program, streams, finish);
  addFaults(program, streams, finish);
  addTopology(program, streams, finish);
  try {
    if (argv.length === 0) program.outputHelp();
    else await program.parseAsync(known(argv, program), { from: "user" });
    return exitCode;
  } catch (error) {
    // --help and --version end here, too.
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
    const failure = failureOf(error, commandName(argv, program));
    if (failure === undefined) throw error;
    report(failure, streams, argv.includes("--json"));
    return EXIT.usage;
  }
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

/** What all commands have in common, which they inherit. */
function commandLine({ stdout, stderr, env }: Streams): Command {
  const paint = painter(true);
  return new Command("iospan")
    .description("One I/O address space over several IOMMUs.")
    .version(packageVersion(), "-V, --version", "show the version")
    .helpOption("-h, --help", "show this")
    .helpCommand("help [command]", "show what a command does")
    .configureHelp({
      styleTitle: (text) => paint(line(strong(text))),
      styleCommandText: (text) => paint(line(name(text))),
      styleSubcommandText: (text) => paint(line(name(text))),
      styleOptionText: (text) => paint(line(name(text))),
    })
    .configureOutput({
      writeOut: (text) => void stdout.write(text),
      writeErr: (text) => void stderr.write(text),
      // The error is told once, by report().
      outputError: () => {},
      getOutHelpWidth: () => WIDTH,
      getOutHasColors: () => wantsColours(stdout, env),
    })
    .exitOverride();
}

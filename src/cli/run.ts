import { Command, CommanderError } from "commander";
import { addDemo } from "./demo.js";
import { EXIT } from "./exit-code.js";
import { failureOf, report } from "./failure.js";
import { packageVersion } from "./package-files.js";
import type { Streams } from "./streams.js";
import { painter, wantsColours } from "./text/colours.js";
import { line, name, strong, WIDTH } from "./text/line.js";

/**
 * The command line, without the process around it.
 * @param argv the arguments, without `node` and the program.
 * @returns the exit code, one of {@link EXIT}.
 */
export async function run(argv: readonly string[], streams: Streams): Promise<number> {
  let exitCode: number = EXIT.ok;
  const program = commandLine(streams);
  addDemo(program, streams, (code) => {
    exitCode = code;
  });
  try {
    if (argv.length === 0) program.outputHelp();
    else await program.parseAsync(argv, { from: "user" });
    return exitCode;
  } catch (error) {
    // --help and --version end here, too.
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
    const failure = failureOf(error);
    if (failure === undefined) throw error;
    report(failure, streams, argv.includes("--json"));
    return EXIT.usage;
  }
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

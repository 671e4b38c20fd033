import { Command } from "commander";
import { addBind } from "./bind.js";
import { addCompletion } from "./completion.js";
import { addDemo } from "./demo.js";
import { addDoctor } from "./doctor.js";
import { addFaults } from "./faults.js";
import { helpSections } from "./help-sections.js";
import { packageVersion } from "./package-files.js";
import { addPlan } from "./plan.js";
import type { Streams } from "./streams.js";
import { painter, wantsColours } from "./text/colours.js";
import { line, name, strong } from "./text/line.js";
import { outputWidth } from "./text/output-width.js";
import { addTopology } from "./topology.js";
import { addUnbind } from "./unbind.js";

/** Adds a command. @param finish takes its exit code */
type AddCommand = (program: Command, streams: Streams, finish: (exitCode: number) => void) => void;

/** In the order that one needs them. */
const COMMANDS: readonly AddCommand[] = [
  addTopology,
  addPlan,
  addDoctor,
  addBind,
  addUnbind,
  addFaults,
  addDemo,
  addCompletion,
];

const SECTIONS = helpSections({
  exitCodes: {
    0: "everything is as it should be",
    1: "the command ran, and found something that is not",
    2: "the command line or its input is wrong; nothing was done",
    70: "iospan itself is wrong; IOSPAN_DEBUG=1 shows where",
  },
  examplesTitle: "Where to start",
  examples: [
    ["iospan demo", "what it is about, on a simulated machine"],
    ["iospan topology", "which devices here are behind which IOMMU"],
    ["iospan plan DEVICE DEVICE", "whether two can see the same memory"],
    ["sudo iospan doctor", "what is in the way here, and what mends it"],
    ["sudo iospan bind DEVICE", "give a device to VFIO; unbind gives it back"],
    ["sudo iospan faults", "what IOMMUs refused, and why"],
    ["iospan help COMMAND", "what a command does, with examples"],
  ],
});

/** All commands, with what they have in common. Light: what a command does is loaded when it runs. */
export function commandLine(streams: Streams, finish: (exitCode: number) => void): Command {
  const program = emptyCommandLine(streams);
  for (const add of COMMANDS) add(program, streams, finish);
  return program;
}

/** What all commands inherit. */
function emptyCommandLine({ stdout, stderr, env }: Streams): Command {
  const paint = painter(true);
  return new Command("iospan")
    .description("One I/O address space over several IOMMUs.")
    .version(packageVersion(), "-V, --version", "show the version")
    .helpOption("-h, --help", "show this")
    .helpCommand("help [command]", "show what a command does")
    .addHelpText("after", SECTIONS)
    .configureHelp({
      minWidthToWrap: 20,
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
      getOutHelpWidth: () => outputWidth(stdout, env),
      getOutHasColors: () => wantsColours(stdout, env),
    })
    .exitOverride();
}

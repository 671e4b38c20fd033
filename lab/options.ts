import { Command, InvalidArgumentError } from "commander";
import { KERNELS } from "./kernels.js";
import { MACHINES, type Machine } from "./machines.js";
import { EXIT } from "./outcome.js";

/** What the user asked for on the command line. */
export interface Options {
  /** Kernels, in the order they are to run; what the user named, else the machine's own choice. */
  readonly kernels: readonly string[];
  readonly machine: string;
  /** `matrix`: everything on every kernel and machine, or on those named. */
  readonly mode: "run" | "matrix" | "shell" | "prepare" | "list";
  readonly command: readonly string[];
  readonly timeout: number;
  readonly append: string;
  readonly update: boolean;
}

const DEFAULT_COMMAND = ["node", "build/lab/guest/prove.js"];
const NAMES = KERNELS.map(({ name }) => name);
const MACHINE_NAMES = MACHINES.map(({ name }) => name);

const EXAMPLES = `
Exit code: the program's own; the first one that is not 0 when several kernels run. The lab's own:
  121 the guest went down while the program ran    124 the time limit passed
  122 the guest never reached the program          125 the lab could not prepare or start

Examples:
  npm run lab                                                what a device behind two IOMMUs can do, on Linux ${NAMES[0]}
  npm run lab -- --kernel all                                the same on every kernel
  npm run lab -- --all                                       every kernel, machine and strategy, and a table
  npm run lab -- --kernel custom --machine platform          PCIe and platform devices in one space
  npm run lab -- --kernel 6.1,5.10 -- node my-program.js     a program of yours, on two kernels
  npm run lab -- -- sh -c 'dmesg | grep -i smmu'             any command that busybox has
  npm run lab -- --shell                                     look around; Ctrl-D or Ctrl-] leaves
  npm run lab -- --append vfio_iommu_type1.dma_entry_limit=8 more kernel parameters
`;

interface Flags {
  readonly kernel?: string[];
  readonly machine?: string;
  readonly all?: true;
  readonly shell?: true;
  readonly prepare?: true;
  readonly list?: true;
  readonly update?: true;
  readonly timeout: number;
  readonly append?: string[];
}

export function parseOptions(args: readonly string[]): Options {
  const program = commandLine().parse(args, { from: "user" });
  const flags = program.opts<Flags>();
  if (flags.shell && program.args.length > 0) program.error("--shell takes no command: type it in the shell");
  if (flags.all && program.args.length > 0) program.error("--all runs the conformance scenarios, and takes no command");
  const machine = machineNamed(flags.machine ?? MACHINE_NAMES[0] ?? "");
  const kernels = [...new Set(flags.kernel ?? kernelsFor(flags, machine))];
  if (!flags.all) checkKernels(program, machine, kernels);
  return {
    kernels,
    machine: machine.name,
    mode: flags.list ? "list" : flags.prepare ? "prepare" : flags.all ? "matrix" : flags.shell ? "shell" : "run",
    command: program.args.length > 0 ? program.args : DEFAULT_COMMAND,
    timeout: flags.timeout,
    append: (flags.append ?? []).join(" "),
    update: flags.update === true,
  };
}

function machineNamed(name: string): Machine {
  const machine = MACHINES.find((candidate) => candidate.name === name);
  if (machine === undefined) throw new RangeError(`no machine "${name}"`);
  return machine;
}

/** Where the user names none: all of them for the matrix, else the first that can drive the machine. */
function kernelsFor({ all }: Flags, { kernels = NAMES }: Machine): readonly string[] {
  return all ? NAMES : kernels.slice(0, 1);
}

function checkKernels(program: Command, { name, kernels = NAMES }: Machine, wanted: readonly string[]): void {
  const unfit = wanted.find((kernel) => !kernels.includes(kernel));
  if (unfit === undefined) return;
  program.error(`error: Linux ${unfit} cannot drive the machine "${name}": take --kernel ${kernels.join(" or ")}`);
}

function commandLine(): Command {
  return new Command("npm run lab --")
    .description("Boots a real arm64 Linux in QEMU, with two SMMUs, and runs a program of this project in it.")
    .argument("[command...]", "what to run in the guest, after --", undefined)
    .option("-k, --kernel <name>", `a kernel, several (a,b or repeated), or all: ${NAMES.join(", ")}`, readKernels)
    .option(
      "-m, --machine <name>",
      `the machine: ${MACHINE_NAMES.join(", ")} (default: ${MACHINE_NAMES[0]})`,
      readMachine,
    )
    .option("--all", "the conformance scenarios on every kernel and machine with every strategy, and a table of them")
    .option("-t, --timeout <seconds>", "limit for each kernel's run, boot included", readSeconds, 900)
    .option("-a, --append <parameters>", "more kernel parameters", (text, before: string[] = []) => [...before, text])
    .option("--shell", "an interactive shell in the guest, instead of a command")
    .option("--prepare", "only download and build what is missing in the cache")
    .option("--update", "look for newer kernel, QEMU and Node.js packages first")
    .option("--list", "show the kernels and which are in the cache")
    .helpOption("-h, --help", "show this")
    .passThroughOptions()
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EXIT.failed))
    .addHelpText("after", EXAMPLES);
}

function readKernels(text: string, before: string[] = []): string[] {
  const names = text === "all" ? NAMES : text.split(",");
  const unknown = names.find((name) => !NAMES.includes(name));
  if (unknown !== undefined) throw new InvalidArgumentError(`no kernel "${unknown}": ${NAMES.join(", ")} or all`);
  return [...before, ...names];
}

function readMachine(name: string): string {
  if (MACHINE_NAMES.includes(name)) return name;
  throw new InvalidArgumentError(`no machine "${name}": ${MACHINE_NAMES.join(", ")}`);
}

function readSeconds(text: string): number {
  const seconds = Number(text);
  if (seconds > 0 && seconds <= 24 * 3600) return seconds;
  throw new InvalidArgumentError("a number of seconds, at most a day");
}

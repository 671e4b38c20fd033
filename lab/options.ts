import { availableParallelism } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";
import { KERNELS, type KernelSource, kernelNamed } from "./kernels.js";
import { MACHINES, type Machine, machineNamed } from "./machines.js";
import { type Cell, MATRIX } from "./matrix.js";

/** What the lab does instead of running a command in a guest. */
const MODES = ["all", "shell", "prepare", "list"] as const;

/** What the user asked for on the command line. */
export interface Options {
  /** `run`: the command; `all`: everything on the cells of the matrix, or on those named. */
  readonly mode: "run" | (typeof MODES)[number];
  /** The kernels, each on its machine, in the order they are to run; none to list. */
  readonly cells: readonly Cell[];
  readonly command: readonly string[];
  readonly timeout: number;
  /** Guests at a time. */
  readonly jobs: number;
  readonly append: string;
  readonly update: boolean;
}

const DEFAULT_COMMAND = ["node", "build/lab/guest/prove.js"];
/** A guest has 3 GB of memory, and waits most of its time. */
const MOST_JOBS = 4;
const NAMES = KERNELS.map(({ name }) => name);
const MACHINE_NAMES = MACHINES.map(({ name }) => name);

const EXAMPLES = `
Exit code: the program's own (of several, the first not 0), or one of the lab's:
  121 the guest went down while the program ran    124 the time limit passed
  122 the guest never reached the program          125 the lab could not start

Examples, all after "npm run lab --":
  (nothing)                          what devices behind two IOMMUs can do
  --kernel all                       the same on every kernel
  --all                              every kernel, machine, strategy: a table
  --all --machine platform           the part of the table with that machine
  --kernel 6.1,5.10 -- node mine.js  a program of yours, on two kernels
  -- sh -c 'dmesg | grep -i smmu'    any command that busybox has
  --shell                            look around; Ctrl-D or Ctrl-] leaves
  --append loglevel=8                one more kernel parameter
`;

interface Flags extends Partial<Readonly<Record<(typeof MODES)[number], true>>> {
  readonly kernel?: readonly KernelSource[];
  readonly machine?: Machine;
  readonly update?: true;
  readonly timeout: number;
  readonly jobs?: number;
  readonly append?: readonly string[];
}

/**
 * Reads the command line.
 * @throws {CommanderError} when it asks for what cannot be, after telling so on stderr; after `--help`, with exit code 0.
 */
export function parseOptions(args: readonly string[]): Options {
  const program = commandLine().parse(args, { from: "user" });
  const flags = program.opts<Flags>();
  const mode = MODES.find((name) => flags[name]) ?? "run";
  if (mode !== "run" && program.args.length > 0) program.error(`error: --${mode} takes no command`);
  return {
    mode,
    cells: cellsOf(program, mode, flags),
    command: program.args.length > 0 ? program.args : DEFAULT_COMMAND,
    timeout: flags.timeout,
    jobs: mode === "shell" ? 1 : (flags.jobs ?? (mode === "all" ? Math.min(availableParallelism(), MOST_JOBS) : 1)),
    append: (flags.append ?? []).join(" "),
    update: flags.update === true,
  };
}

function cellsOf(program: Command, mode: Options["mode"], flags: Flags): readonly Cell[] {
  if (mode === "list") return [];
  return mode === "all" ? chosenCells(program, flags) : cellsOn(program, flags);
}

/** The cells of the matrix with what was named. */
function chosenCells(program: Command, { kernel: kernels, machine }: Flags): readonly Cell[] {
  const chosen = MATRIX.filter(
    (cell) => (kernels?.includes(cell.kernel) ?? true) && (machine === undefined || cell.machine === machine),
  );
  if (chosen.length > 0) return chosen;
  const parts = MACHINES.map(({ name }) => {
    const there = MATRIX.filter((cell) => cell.machine.name === name).map(({ kernel }) => kernel.name);
    return `${[...new Set(there)].join(", ")} on ${name}`;
  });
  return program.error(`error: --all has no such kernel on this machine; it has ${parts.join("; ")}`);
}

/** The kernels that were named on one machine, else the first one that can drive it. */
function cellsOn(program: Command, flags: Flags): readonly Cell[] {
  const machine = flags.machine ?? machineNamed(MACHINE_NAMES[0] ?? "");
  const fit = KERNELS.filter(({ name }) => machine.kernels?.includes(name) ?? true);
  const kernels = [...new Set(flags.kernel ?? fit.slice(0, 1))];
  const unfit = kernels.find((kernel) => !fit.includes(kernel));
  if (unfit === undefined) return kernels.map((kernel) => ({ kernel, machine }));
  const names = fit.map(({ name }) => name).join(" or ");
  return program.error(`error: Linux ${unfit.name} cannot drive the machine "${machine.name}": take --kernel ${names}`);
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
    .option("-t, --timeout <seconds>", "limit for each kernel's run, boot included", readSeconds, 900)
    .option(
      "-j, --jobs <n>",
      `guests at a time; of several each prints when it has ended (default: 1, with --all one for each processor, at most ${MOST_JOBS})`,
      readJobs,
    )
    .option("-a, --append <parameters>", "more kernel parameters", (text, before: string[] = []) => [...before, text])
    .option("--update", "look for newer kernel, QEMU and Node.js packages first")
    .addOption(
      new Option(
        "--all",
        "instead of a command: the conformance scenarios on every kernel and machine, or those named, with every strategy, and a table of them",
      ).conflicts(["shell", "prepare", "list"]),
    )
    .addOption(
      new Option("--shell", "instead of a command: an interactive shell in the guest").conflicts(["prepare", "list"]),
    )
    .addOption(
      new Option("--prepare", "only download and build what is missing in the cache").conflicts([
        "list",
        "timeout",
        "append",
      ]),
    )
    .addOption(
      new Option("--list", "only show the kernels, which are in the cache, and the machines").conflicts([
        "kernel",
        "machine",
        "timeout",
        "append",
        "update",
      ]),
    )
    .helpOption("-h, --help", "show this")
    .passThroughOptions()
    .exitOverride()
    .addHelpText("after", EXAMPLES);
}

function readKernels(text: string, before: readonly KernelSource[] = []): readonly KernelSource[] {
  return [...before, ...(text === "all" ? KERNELS : text.split(",").map((name) => named(kernelNamed, name)))];
}

function readMachine(name: string): Machine {
  return named(machineNamed, name);
}

/** What is wrong with a name, told as what is wrong with the option. */
function named<T>(find: (name: string) => T, name: string): T {
  try {
    return find(name);
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}

function readJobs(text: string): number {
  const jobs = Number(text);
  if (Number.isInteger(jobs) && jobs > 0 && jobs <= 64) return jobs;
  throw new InvalidArgumentError("a number of guests, 1 to 64");
}

function readSeconds(text: string): number {
  const seconds = Number(text);
  if (seconds > 0 && seconds <= 24 * 3600) return seconds;
  throw new InvalidArgumentError("a number of seconds, at most a day");
}

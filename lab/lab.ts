import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type Boot, boot } from "./boot.js";
import type { Cache } from "./cache.js";
import { type GuestOutput, HeldOutput, passedOn } from "./guest-output.js";
import { type Host, seconds } from "./host.js";
import { buildInitramfs } from "./initramfs.js";
import { buildKernel, checkKernel, type Kernel, type KernelSource } from "./kernels.js";
import { listing } from "./listing.js";
import { newLog, tailOf } from "./log.js";
import type { Machine } from "./machines.js";
import { type Cell, type CellResult, commandOf, printMatrix, ResultReader } from "./matrix.js";
import type { Options } from "./options.js";
import { describe, exitCode, type Outcome } from "./outcome.js";
import { addPrograms } from "./programs.js";
import { type Emulator, findEmulator } from "./qemu.js";
import type { Task } from "./script.js";
import { sideBySide } from "./side-by-side.js";
import { buildUserland } from "./userland.js";
import { openWorkshop, type Workshop } from "./workshop.js";

const TOOLS = ["apt-get", "apt-cache", "dpkg", "dpkg-deb", "flock", "npm", "setpriv", "tar", "xz"];
const LOG_LINES = 30;

/** What all runs share, and every run itself. */
interface Prepared {
  readonly emulator: Emulator;
  readonly userland: string;
  readonly runs: readonly Run[];
}

/** A cell with what its guest boots. */
interface Run {
  readonly cell: Cell;
  readonly kernel: Kernel;
  readonly initramfs: string;
}

/** Does what the options say and returns the exit code. */
export async function runAll(host: Host, cache: Cache, options: Options): Promise<number> {
  const shop = openWorkshop(host, cache, options.update);
  if (options.mode === "list") {
    process.stdout.write(await listing(shop));
    return 0;
  }
  await host.need(TOOLS);
  const prepared = await cache.prepare(host, () => prepare(shop, options.cells));
  if (options.mode === "prepare") {
    host.say(`ready, in ${cache.folder}`);
    return 0;
  }
  if (options.mode === "all") return runMatrix(shop, prepared, options);
  const codes = await sideBySide(prepared.runs, options.jobs, (run) =>
    withOutput(options, (output) => bootRun(shop, prepared, run, options, { output })),
  );
  return codes.find((code) => code !== 0) ?? 0;
}

async function runMatrix(shop: Workshop, prepared: Prepared, options: Options): Promise<number> {
  const results: CellResult[] = [];
  try {
    await sideBySide(prepared.runs, options.jobs, async (run) => {
      results.push(await withOutput(options, (output) => runCell(shop, prepared, run, options, output)));
    });
  } finally {
    // Also when it is interrupted or fails: what was found out in minutes is not thrown away.
    results.sort((a, b) => rowOf(prepared, a) - rowOf(prepared, b));
    if (results.length > 0) printMatrix(shop.host, results, prepared.runs.length);
  }
  return results.find(({ code }) => code !== 0)?.code ?? 0;
}

function rowOf({ runs }: Prepared, { kernel, machine, compatContainer }: CellResult): number {
  return runs.findIndex(
    ({ cell }) => cell.kernel === kernel && cell.machine === machine && cell.compatContainer === compatContainer,
  );
}

/** Of guests side by side each tells all when it has ended; a guest alone speaks as it goes. */
async function withOutput<T>({ jobs }: Options, work: (output: GuestOutput) => Promise<T>): Promise<T> {
  if (jobs === 1) return work(passedOn);
  const held = new HeldOutput();
  try {
    return await work(held);
  } finally {
    held.tell();
  }
}

async function runCell(
  shop: Workshop,
  prepared: Prepared,
  run: Run,
  options: Options,
  output: GuestOutput,
): Promise<CellResult> {
  const reader = new ResultReader();
  const start = performance.now();
  const task = { ...options, command: commandOf(run.cell) };
  const code = await bootRun(shop, prepared, run, task, { output, onOutput: (text) => reader.read(text) });
  return { ...run.cell, strategies: reader.strategies, code, seconds: (performance.now() - start) / 1000 };
}

/** Downloads and builds what is missing. What comes from different places comes at the same time. */
async function prepare(shop: Workshop, cells: readonly Cell[]): Promise<Prepared> {
  for (const { kernel } of cells) await checkKernel(shop, kernel);
  const parts = [findEmulator(shop), buildUserland(shop), buildKernels(shop, cells)] as const;
  // On a failure the others are waited for too: nobody else may write into the cache when this returns.
  await Promise.allSettled(parts);
  const [emulator, userland, kernels] = await Promise.all(parts);
  const runs: Run[] = [];
  for (const { cell, kernel } of kernels) {
    runs.push({ cell, kernel, initramfs: await buildInitramfs(shop, kernel, userland) });
  }
  return { emulator, userland, runs };
}

/** Each cell with its kernel, which is made once. */
async function buildKernels(shop: Workshop, cells: readonly Cell[]): Promise<Omit<Run, "initramfs">[]> {
  const made = new Map<KernelSource, Kernel>();
  const built: Omit<Run, "initramfs">[] = [];
  for (const cell of cells) {
    const kernel = made.get(cell.kernel) ?? (await buildKernel(shop, cell.kernel));
    made.set(cell.kernel, kernel);
    built.push({ cell, kernel });
  }
  return built;
}

/** Boots a run's guest, tells how it ended and returns the exit code. */
async function bootRun(
  shop: Workshop,
  prepared: Prepared,
  run: Run,
  options: Options,
  listening: Pick<Boot, "output" | "onOutput">,
): Promise<number> {
  const { host, cache } = shop;
  const { kernel, cell } = run;
  const guest = `Linux ${kernel.name} on ${cell.machine.name}`;
  const start = performance.now();
  const log = await newLog(cache.folder, `${cell.machine.name}-${kernel.name}`);
  const scratch = await cache.scratch();
  host.say(`booting Linux ${kernel.release} (Debian ${kernel.version}) on ${cell.machine.name} …`);
  try {
    const parts = await bootParts(prepared, run, options, scratch);
    const onReady = () => host.say(`${guest}: up after ${seconds(start)}`);
    const outcome = await boot({ ...parts, ...listening, log, signal: host.signal, onReady });
    host.signal.throwIfAborted();
    await report(host, guest, outcome, start, log);
    return exitCode(outcome);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** What the guest boots and does, with the checkout's programs as they are now. */
async function bootParts({ emulator, userland }: Prepared, run: Run, options: Options, scratch: string) {
  const { kernel, cell } = run;
  const { append, timeout } = options;
  const initramfs = join(scratch, "initramfs.cpio");
  await addPrograms(run.initramfs, initramfs);
  const image = join(kernel.folder, "vmlinuz");
  const task = taskFor(options, kernel, cell.machine);
  return { emulator, userland, machine: cell.machine, image, initramfs, append, task, timeout, scratch };
}

function taskFor(options: Options, kernel: Kernel, machine: Machine): Task {
  const passed = ["TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR"].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const own = { IOSPAN_LAB_KERNEL: kernel.name, IOSPAN_LAB_MACHINE: machine.name };
  const command = options.mode === "shell" ? "shell" : options.command;
  return { command, environment: { ...Object.fromEntries(passed), ...own } };
}

async function report(host: Host, guest: string, outcome: Outcome, start: number, log: string): Promise<void> {
  host.say(`${guest}: ${describe(outcome)} (${seconds(start)})`);
  const tail = outcome.kind === "died" || outcome.kind === "timeout" ? await tailOf(log, LOG_LINES) : "";
  if (tail !== "") host.say(`the end of its kernel log:\n${tail}`);
  if (exitCode(outcome) !== 0) host.say(`the whole kernel log: ${log}`);
}

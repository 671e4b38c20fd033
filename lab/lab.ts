import { rm } from "node:fs/promises";
import { join } from "node:path";
import { boot } from "./boot.js";
import type { Cache } from "./cache.js";
import { type Host, LabError, seconds } from "./host.js";
import { buildInitramfs } from "./initramfs.js";
import { buildKernel, cachedKernel, KERNELS, type Kernel, type KernelSource } from "./kernels.js";
import { newLog, tailOf } from "./log.js";
import { MACHINES, type Machine } from "./machines.js";
import { type Cell, type CellResult, commandOf, MATRIX, printMatrix, ResultReader } from "./matrix.js";
import type { Options } from "./options.js";
import { describe, exitCode, type Outcome } from "./outcome.js";
import { addPrograms } from "./programs.js";
import { type Emulator, findEmulator } from "./qemu.js";
import type { Task } from "./script.js";
import { buildUserland } from "./userland.js";
import { openWorkshop, type Workshop } from "./workshop.js";

const TOOLS = ["apt-get", "apt-cache", "dpkg", "dpkg-deb", "flock", "npm", "setpriv", "tar", "xz"];
const LOG_LINES = 30;

/** What all runs share, and one guest for each kernel. */
interface Prepared {
  readonly emulator: Emulator;
  readonly userland: string;
  readonly guests: readonly Guest[];
}

interface Guest {
  readonly kernel: Kernel;
  readonly initramfs: string;
}

/** Does what the options say and returns the exit code. */
export async function runAll(host: Host, cache: Cache, options: Options): Promise<number> {
  const shop = openWorkshop(host, cache, options.update);
  if (options.mode === "list") return list(shop);
  await host.need(TOOLS);
  const cells = options.mode === "matrix" ? chosenCells(options) : options.kernels.map((kernel) => ({ kernel }));
  const sources = [...new Set(cells.map(({ kernel }) => kernel))].map(kernelSource);
  const prepared = await cache.prepare(host, () => prepare(shop, sources));
  if (options.mode === "prepare") {
    host.say(`ready, in ${cache.folder}`);
    return 0;
  }
  if (options.mode === "matrix") return runMatrix(shop, prepared, options);
  const codes: number[] = [];
  for (const guest of prepared.guests) codes.push(await run(shop, prepared, guest, options));
  return codes.find((code) => code !== 0) ?? 0;
}

/** The cells of the kernels that were asked for. */
function chosenCells({ kernels }: Options): readonly Cell[] {
  return MATRIX.filter(({ kernel }) => kernels.includes(kernel));
}

async function runMatrix(shop: Workshop, prepared: Prepared, options: Options): Promise<number> {
  const results: CellResult[] = [];
  for (const cell of chosenCells(options)) {
    const guest = prepared.guests.find(({ kernel }) => kernel.name === cell.kernel);
    if (guest === undefined) throw new LabError(`no kernel "${cell.kernel}"`);
    const reader = new ResultReader();
    const start = performance.now();
    const task = { ...options, machine: cell.machine, command: commandOf(cell) };
    const code = await run(shop, prepared, guest, task, (text) => reader.read(text));
    results.push({ ...cell, strategies: reader.strategies, code, seconds: (performance.now() - start) / 1000 });
  }
  printMatrix(shop.host, results);
  return results.find(({ code }) => code !== 0)?.code ?? 0;
}

function kernelSource(name: string): KernelSource {
  const source = KERNELS.find((kernel) => kernel.name === name);
  if (source === undefined) throw new LabError(`no kernel "${name}"`);
  return source;
}

/** Downloads and builds what is missing. What comes from different places comes at the same time. */
async function prepare(shop: Workshop, sources: readonly KernelSource[]): Promise<Prepared> {
  const parts = [findEmulator(shop), buildUserland(shop), buildKernels(shop, sources)] as const;
  // On a failure the others are waited for too: nobody else may write into the cache when this returns.
  await Promise.allSettled(parts);
  const [emulator, userland, kernels] = await Promise.all(parts);
  const guests: Guest[] = [];
  for (const kernel of kernels) guests.push({ kernel, initramfs: await buildInitramfs(shop, kernel, userland) });
  return { emulator, userland, guests };
}

async function buildKernels(shop: Workshop, sources: readonly KernelSource[]): Promise<Kernel[]> {
  const kernels: Kernel[] = [];
  for (const source of sources) kernels.push(await buildKernel(shop, source));
  return kernels;
}

async function run(
  shop: Workshop,
  prepared: Prepared,
  guest: Guest,
  options: Options,
  onOutput?: (text: string) => void,
): Promise<number> {
  const { host, cache } = shop;
  const { kernel } = guest;
  const machine = machineNamed(options.machine);
  const log = await newLog(cache.folder, `${machine.name}-${kernel.name}`);
  const scratch = await cache.scratch();
  const initramfs = join(scratch, "initramfs.cpio");
  const start = performance.now();
  host.say(`booting Linux ${kernel.release} (Debian ${kernel.version}) on ${machine.name} …`);
  try {
    await addPrograms(guest.initramfs, initramfs);
    const outcome = await boot({
      emulator: prepared.emulator,
      userland: prepared.userland,
      machine,
      image: join(kernel.folder, "vmlinuz"),
      initramfs,
      append: options.append,
      task: taskFor(options, kernel, machine),
      timeout: options.timeout,
      scratch,
      log,
      signal: host.signal,
      onOutput,
      onReady: () => host.say(`up after ${seconds(start)}`),
    });
    host.signal.throwIfAborted();
    await report(host, kernel, outcome, start, log);
    return exitCode(outcome);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

function machineNamed(name: string): Machine {
  const machine = MACHINES.find((candidate) => candidate.name === name);
  if (machine === undefined) throw new LabError(`no machine "${name}"`);
  return machine;
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

async function report(host: Host, kernel: Kernel, outcome: Outcome, start: number, log: string): Promise<void> {
  host.say(`Linux ${kernel.name}: ${describe(outcome)} (${seconds(start)})`);
  const tail = outcome.kind === "died" || outcome.kind === "timeout" ? await tailOf(log, LOG_LINES) : "";
  if (tail !== "") host.say(`the end of its kernel log:\n${tail}`);
  if (exitCode(outcome) !== 0) host.say(`the whole kernel log: ${log}`);
}

async function list(shop: Workshop): Promise<number> {
  for (const [index, source] of KERNELS.entries()) {
    const kernel = await cachedKernel(shop, source);
    const state = kernel
      ? `${kernel.release} (Debian ${kernel.version})`
      : `not in the cache: the newest ${source.series} of Debian ${source.release}`;
    process.stdout.write(`${source.name.padEnd(8)} ${state}${index === 0 ? ", default" : ""}\n`);
  }
  return 0;
}

import { bindDevices, rehearseBinding } from "../../binding/bind-devices.js";
import { lastingBindings, persistentFiles } from "../../binding/persistence.js";
import { type BindingPlan, type BindRequest, planBinding } from "../../binding/plan-binding.js";
import { shellCommands } from "../../binding/rehearsal.js";
import { IospanError } from "../../errors.js";
import { EXIT } from "../exit-code.js";
import { writeJson } from "../failure.js";
import type { Streams } from "../streams.js";
import { bindJson } from "./bind-json.js";
import type { BindResult } from "./bind-result.js";
import type { CommandWorld } from "./command-world.js";
import { liveWorld } from "./live-world.js";
import { type BindFlags, persistModes } from "./options.js";
import { notRoot, told, writeLines } from "./output.js";
import { renderBinding } from "./render-binding.js";
import { showStatus } from "./status.js";

/** `iospan bind`. @returns the exit code. */
export async function runBind(
  words: readonly string[],
  flags: BindFlags,
  streams: Streams,
  open: (env: Streams["env"]) => CommandWorld | Promise<CommandWorld> = liveWorld,
): Promise<number> {
  const { devices, persist } = separate(words, flags);
  const status = flags.status === true || devices.length === 0;
  if (status) requireStatusAlone(devices, flags, persist);
  const world = await open(streams.env);
  try {
    if (status) return showStatus(world, streams, flags.json === true);
    return bind(world, devices, { ...flags, persist }, streams);
  } catch (error) {
    if (told(error, streams, flags.json === true)) return EXIT.unexpected;
    throw error;
  }
}

type Persist = (typeof persistModes)[number] | undefined;

/** `--persist 0000:01:00.0` means the device, since the option's own word may be left out. */
function separate(words: readonly string[], { persist }: BindFlags): { devices: readonly string[]; persist: Persist } {
  if (persist === undefined) return { devices: words, persist };
  const mode = persist === true ? "print" : persistModes.find((each) => each === persist);
  return mode === undefined
    ? { devices: [String(persist), ...words], persist: "print" }
    : { devices: words, persist: mode };
}

function requireStatusAlone(devices: readonly string[], flags: BindFlags, persist: Persist): void {
  const { driver, group, dryRun, force, load } = flags;
  const changing = [driver, group, dryRun, force, load, persist].some((each) => each !== undefined);
  if (devices.length === 0 && !changing) return;
  const message = devices.length > 0 ? "--status names no devices" : "no device is named";
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", message, {
    hint: "iospan bind DEVICE… binds devices; iospan bind --status shows what is on VFIO; iospan bind --help",
  });
}

function bind(
  world: CommandWorld,
  devices: readonly string[],
  flags: Omit<BindFlags, "persist"> & { readonly persist: Persist },
  streams: Streams,
): number {
  const { driver, group, force, json } = flags;
  const dryRun = flags.dryRun === true;
  if (!dryRun && !world.root) throw notRoot(`iospan bind ${devices.join(" ")}`);
  const loading = flags.load === true ? { ...world, load: world.modprobe } : world;
  const request: BindRequest = { devices, driver, group, force };
  const result = dryRun ? rehearsed(loading, request, flags.persist) : carriedOut(loading, request, flags.persist);
  if (json === true) writeJson(streams.stdout, bindJson(result));
  else tell(result, streams);
  return result.done ? EXIT.ok : EXIT.unexpected;
}

function rehearsed(world: CommandWorld, request: BindRequest, persist: Persist): BindResult {
  const { plan, done, loads, writes } = rehearseBinding(world, request);
  const commands = [...loads.map((driver) => `modprobe ${driver}`), ...shellCommands(writes)];
  return { plan, done, dryRun: true, commands, ...lastingOf(world, plan, persist), written: false };
}

/** What is to last is written first: that it cannot be is known before a device has moved. */
function carriedOut(world: CommandWorld, request: BindRequest, persist: Persist): BindResult {
  const before = lastingOf(world, planBinding(world, request), persist);
  const write = persist === "write";
  const undo = write ? world.etc.write(before.files) : () => {};
  try {
    const { plan, done } = bindDevices(world, request);
    if (!done) undo();
    return { plan, done, dryRun: false, commands: [], ...before, written: write && done };
  } catch (error) {
    undo();
    throw error;
  }
}

function lastingOf({ machine }: CommandWorld, { devices }: BindingPlan, persist: Persist) {
  const lasting = persist === undefined ? [] : lastingBindings(machine, devices);
  return { lasting, files: lasting.flatMap(persistentFiles) };
}

function tell(result: BindResult, streams: Streams): void {
  const { stdout, stderr } = streams;
  const { outcome, refusals } = renderBinding(result);
  writeLines(stdout, streams, outcome);
  writeLines(result.dryRun ? stdout : stderr, streams, refusals);
}

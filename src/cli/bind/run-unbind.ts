import { persistentPaths } from "../../binding/persistence.js";
import { shellCommands } from "../../binding/rehearsal.js";
import { rehearseUnbinding, requireNamed, type UnbindRequest, unbindDevices } from "../../binding/unbind-devices.js";
import { EXIT } from "../exit-code.js";
import { writeJson } from "../failure.js";
import type { Streams } from "../streams.js";
import type { CommandWorld } from "./command-world.js";
import { liveWorld } from "./live-world.js";
import type { UnbindFlags } from "./options.js";
import { notRoot, told, writeLines } from "./output.js";
import { renderUnbinding, unbindJson } from "./render-unbinding.js";
import type { UnbindResult } from "./unbind-result.js";

/** `iospan unbind`. @returns the exit code. */
export async function runUnbind(
  devices: readonly string[],
  flags: UnbindFlags,
  streams: Streams,
  open: (env: Streams["env"]) => CommandWorld | Promise<CommandWorld> = liveWorld,
): Promise<number> {
  const { all, group, driver, force, json = false } = flags;
  const request: UnbindRequest = { devices, all, group, driver, force };
  requireNamed(request);
  const world = await open(streams.env);
  try {
    return unbind(world, request, flags, streams);
  } catch (error) {
    if (told(error, streams, json)) return EXIT.unexpected;
    throw error;
  }
}

function unbind(world: CommandWorld, request: UnbindRequest, flags: UnbindFlags, streams: Streams): number {
  const { dryRun = false, persist, json } = flags;
  const words = request.all === true ? ["--all", ...request.devices] : request.devices;
  if (!dryRun && !world.root) throw notRoot(`iospan unbind ${words.join(" ")}`);
  const result = dryRun ? rehearsed(world, request) : carriedOut(world, request, persist === true);
  if (json === true) writeJson(streams.stdout, unbindJson(result));
  else {
    const { outcome, refusals } = renderUnbinding(result);
    writeLines(streams.stdout, streams, outcome);
    writeLines(dryRun ? streams.stdout : streams.stderr, streams, refusals);
  }
  return result.done ? EXIT.ok : EXIT.unexpected;
}

function rehearsed(world: CommandWorld, request: UnbindRequest): UnbindResult {
  const { writes, ...outcome } = rehearseUnbinding(world, request);
  return { ...outcome, dryRun: true, commands: shellCommands(writes), removed: [] };
}

function carriedOut(world: CommandWorld, request: UnbindRequest, persist: boolean): UnbindResult {
  const outcome = unbindDevices(world, request);
  const paths = persist && outcome.done ? outcome.returns.flatMap(({ name }) => persistentPaths(name)) : [];
  return { ...outcome, dryRun: false, commands: [], removed: world.etc.remove(paths) };
}

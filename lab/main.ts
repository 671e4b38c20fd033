import { CommanderError } from "commander";
import { Cache } from "./cache.js";
import { Host, LabError } from "./host.js";
import { Interruption } from "./interruption.js";
import { runAll } from "./lab.js";
import { parseOptions } from "./options.js";
import { EXIT } from "./outcome.js";

const interruption = new Interruption();
// Whoever read our output is gone (`| head`): there is nothing left to run for.
process.stdout.on("error", () => interruption.end("SIGPIPE"));

const host = new Host(interruption.signal);
try {
  const options = parseOptions(process.argv.slice(2));
  process.exitCode = await runAll(host, await Cache.open(), options);
} catch (error) {
  process.exitCode = interruption.code || exitCodeOf(error);
  if (error instanceof LabError && interruption.code === 0) host.say(error.message);
  else if (interruption.code === 0 && !(error instanceof CommanderError)) throw error;
}
if (interruption.code !== 0) process.exitCode = interruption.code;

/** After `--help` all is well. */
function exitCodeOf(error: unknown): number {
  return error instanceof CommanderError && error.exitCode === 0 ? 0 : EXIT.failed;
}

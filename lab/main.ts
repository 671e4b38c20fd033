import { constants } from "node:os";
import { CommanderError } from "commander";
import { Cache } from "./cache.js";
import { Host, LabError } from "./host.js";
import { runAll } from "./lab.js";
import { parseOptions } from "./options.js";
import { EXIT } from "./outcome.js";

const interrupted = new AbortController();
let signalCode = 0;

// The first signal stops the guest and removes what is half done; the second one acts as usual.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    signalCode = 128 + constants.signals[signal];
    interrupted.abort();
  });
}
// Whoever read our output is gone (`| head`): there is nothing left to run for.
process.stdout.on("error", () => {
  signalCode = 128 + constants.signals.SIGPIPE;
  interrupted.abort();
});

const host = new Host(interrupted.signal);
try {
  const options = parseOptions(process.argv.slice(2));
  process.exitCode = await runAll(host, await Cache.open(), options);
} catch (error) {
  process.exitCode = signalCode || exitCodeOf(error);
  if (error instanceof LabError && signalCode === 0) host.say(error.message);
  else if (signalCode === 0 && !(error instanceof CommanderError)) throw error;
}
if (signalCode !== 0) process.exitCode = signalCode;

/** After `--help` all is well. */
function exitCodeOf(error: unknown): number {
  return error instanceof CommanderError && error.exitCode === 0 ? 0 : EXIT.failed;
}

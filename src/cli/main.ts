#!/usr/bin/env node
import { EXIT } from "./exit-code.js";
import { bugFailure, isSystemError, outputFailure, report } from "./failure.js";
import { run } from "./run.js";

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // Whoever read the output is gone (`| head`): there is nobody left to tell.
  if (error.code === "EPIPE") process.exit(EXIT.ok);
  fail(error);
});
// Where errors cannot be told, the exit code has to do.
process.stderr.on("error", () => {});
process.on("uncaughtException", fail);

try {
  process.exitCode = await run(process.argv.slice(2), process);
} catch (error) {
  fail(error);
}

/** Some releases of Node.js throw what a file has against being written; all else that comes here is a bug. */
function fail(error: unknown): never {
  const isOutput = isSystemError(error) && error.syscall === "write";
  report(isOutput ? outputFailure(error) : bugFailure(error, process.env), process, false);
  process.exit(isOutput ? EXIT.usage : EXIT.bug);
}

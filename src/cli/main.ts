#!/usr/bin/env node
import { EXIT } from "./exit-code.js";
import { isSystemError, outputFailure, report } from "./failure.js";
import { run } from "./run.js";

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // Whoever read the output is gone (`| head`): there is nobody left to tell.
  if (error.code === "EPIPE") process.exit(EXIT.ok);
  report(outputFailure(error), process, false);
  process.exit(EXIT.usage);
});

try {
  process.exitCode = await run(process.argv.slice(2), process);
} catch (error) {
  // Some releases of Node.js throw what a file has against being written.
  if (!isSystemError(error) || error.syscall !== "write") throw error;
  report(outputFailure(error), process, false);
  process.exitCode = EXIT.usage;
}

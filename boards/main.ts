/**
 * `npm run boards`: what Debian's device trees for arm64 hold, read, counted, planned, and compared with a second reading.
 * Prints an `ok` or `not ok` line for each assertion, and last `N passed, N failed`.
 */
import { constants } from "node:os";
import { Cache } from "../lab/cache.js";
import { Host, LabError } from "../lab/host.js";
import { openWorkshop } from "../lab/workshop.js";
import { checkBoards } from "./check-boards.js";
import { debianTrees } from "./debian-trees.js";

const TOOLS = ["apt-get", "apt-cache", "dpkg", "dpkg-deb", "flock", "setpriv"];
const COULD_NOT_START = 125;

const interrupted = new AbortController();
let signalCode = 0;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    signalCode = 128 + constants.signals[signal];
    interrupted.abort();
  });
}

const host = new Host(interrupted.signal);
try {
  await host.need(TOOLS);
  const cache = await Cache.open();
  const trees = await cache.prepare(host, () => debianTrees(openWorkshop(host, cache, false)));
  process.exitCode = await checkBoards(host, trees);
} catch (error) {
  process.exitCode = signalCode || COULD_NOT_START;
  if (signalCode === 0 && !(error instanceof LabError)) throw error;
  if (signalCode === 0) host.say((error as Error).message);
}
if (signalCode !== 0) process.exitCode = signalCode;

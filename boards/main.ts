/**
 * `npm run boards`: what Debian's device trees for arm64 hold, read, counted, planned, and compared with a second reading.
 * Prints an `ok` or `not ok` line for each assertion, and last `N passed, N failed`.
 */
import { Cache } from "../lab/cache.js";
import { Host, LabError } from "../lab/host.js";
import { Interruption } from "../lab/interruption.js";
import { openWorkshop } from "../lab/workshop.js";
import { checkBoards } from "./check-boards.js";
import { debianTrees } from "./debian-trees.js";

const TOOLS = ["apt-get", "apt-cache", "dpkg", "dpkg-deb", "flock", "setpriv"];
const COULD_NOT_START = 125;

const interruption = new Interruption();
const host = new Host(interruption.signal);
try {
  await host.need(TOOLS);
  const cache = await Cache.open();
  const trees = await cache.prepare(host, () => debianTrees(openWorkshop(host, cache, false)));
  process.exitCode = await checkBoards(host, trees);
} catch (error) {
  process.exitCode = interruption.code || COULD_NOT_START;
  if (error instanceof LabError && interruption.code === 0) host.say(error.message);
  else if (interruption.code === 0) throw error;
}
if (interruption.code !== 0) process.exitCode = interruption.code;

import assert from "node:assert/strict";
import { type SpawnSyncOptions, spawnSync } from "node:child_process";
import { chownSync } from "node:fs";
import { bindToVfio, findDevice, IoAddressSpace, type Machine } from "iospan";
import { openVfioFiles } from "./open-files.js";
import type { Proofs } from "./proofs.js";

const EXAMPLE = "build/examples/edu/main.js";
const NOBODY = 65534;

/** A platform device of QEMU's machine without an IOMMU: its interface for firmware files. */
const UNTRANSLATED = "QEMU0002:00";

/** Runs the example as a user would. It has to fail, with one message and one way out. */
function exampleFails(
  parameters: readonly string[],
  { limit = "unlimited", ...options }: SpawnSyncOptions & { limit?: string },
) {
  const shell = `ulimit -l ${limit}; exec "$@"`;
  const command = ["-c", limit === "unlimited" ? 'exec "$@"' : shell, "sh", process.execPath, EXAMPLE, ...parameters];
  const { status, stderr } = spawnSync("sh", command, { ...options, encoding: "utf8" });
  assert.equal(status, 1, stderr);
  const [message, fix, ...rest] = stderr.trimEnd().split("\n");
  assert.match(message ?? "", /^error: \S/);
  assert.match(fix ?? "", /^fix: \S/);
  assert.ok(!rest.some((line) => /^\s+at /.test(line)), `a stack trace:\n${stderr}`);
  return stderr.trimEnd().replaceAll("\n", " | ");
}

/** What the example says when something is wrong, each time with nothing left bound or open. */
export async function userErrors(machine: Machine, first: string, second: string, proofs: Proofs): Promise<void> {
  console.log("\nwhat a user sees");
  const { driver } = findDevice(machine, first);
  const open = openVfioFiles(machine);
  const says = (name: string, run: () => string | Promise<string>) =>
    proofs.prove(name, async () => {
      const said = await run();
      assert.equal(findDevice(machine, first).driver, driver, "nothing is left bound");
      assert.deepEqual(openVfioFiles(machine), open, "nothing is left open");
      return said;
    });
  await says("a device that is not bound to VFIO", () => exampleFails([first, second], {}));
  await says("a device that does not exist", () => exampleFails(["--bind", first, "0000:77:00.0"], {}));
  await says("a device without an IOMMU", () => exampleFails([UNTRANSLATED], {}));
  await says("a device that another process holds", () => heldByAnother(machine, first, second));
  await says("a limit on locked memory that is too low", () => memlockTooLow(machine, first, second));
}

async function heldByAnother(machine: Machine, first: string, second: string): Promise<string> {
  using _first = bindToVfio(machine, first);
  using _second = bindToVfio(machine, second);
  await using _space = await IoAddressSpace.open(machine, [second]);
  const said = exampleFails([first, second], {});
  assert.match(said, new RegExp(`\\b${process.pid}\\b`), "the process that holds it is named");
  return said;
}

async function memlockTooLow(machine: Machine, first: string, second: string): Promise<string> {
  using _first = bindToVfio(machine, first);
  using _second = bindToVfio(machine, second);
  for (const name of [first, second]) chownSync(`/dev/vfio/${findDevice(machine, name).group}`, NOBODY, NOBODY);
  const said = exampleFails([first, second], { uid: NOBODY, gid: NOBODY, limit: "4" });
  assert.match(said, /ulimit -l/);
  return said;
}

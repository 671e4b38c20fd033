import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { bindToVfio, findDevice, IoAddressSpace, type Machine } from "iospan";
import { openVfioFiles } from "./open-files.js";
import type { Proofs } from "./proofs.js";

const EXAMPLE = "build/examples/edu/main.js";
/** Root may lock any amount of memory (CAP_IPC_LOCK); this takes that away from the process. */
const WITHOUT_IPC_LOCK = "./build/lab/guest/without-ipc-lock.js";

/** A device whose own DMA nothing translates: an IOMMU. */
const UNTRANSLATED = "arm-smmu-v3.0.auto";

/** Runs the example as a user would. It has to fail, with one message and one way out. */
function exampleFails(parameters: readonly string[], nodeOptions: readonly string[] = [], prelude = ""): string {
  const command = ["-c", `${prelude} exec "$@"`, "sh", process.execPath, ...nodeOptions, EXAMPLE, ...parameters];
  const { status, stderr } = spawnSync("sh", command, { encoding: "utf8" });
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
  await says("a device that is not bound to VFIO", () => exampleFails([first, second]));
  await says("a device that does not exist", () => exampleFails(["--bind", first, "0000:77:00.0"]));
  await says("a device without an IOMMU", () => exampleFails([UNTRANSLATED]));
  await says("a device that another process holds", () => heldByAnother(machine, first, second));
  await says("a limit on locked memory that is too low", () => memlockTooLow(machine, first, second));
}

async function heldByAnother(machine: Machine, first: string, second: string): Promise<string> {
  using _first = bindToVfio(machine, first);
  using _second = bindToVfio(machine, second);
  await using _space = await IoAddressSpace.open(machine, [second]);
  const said = exampleFails([first, second]);
  assert.match(said, new RegExp(`\\b${process.pid}\\b`), "the process that holds it is named");
  return said;
}

async function memlockTooLow(machine: Machine, first: string, second: string): Promise<string> {
  using _first = bindToVfio(machine, first);
  using _second = bindToVfio(machine, second);
  const said = exampleFails([first, second], ["--import", WITHOUT_IPC_LOCK], "ulimit -l 4;");
  assert.match(said, /ulimit -l/);
  return said;
}

/**
 * `iospan bind` and `iospan unbind` as a user has them, on the machine's own kernel: child processes, real drivers, a real /run.
 *
 *   npm run lab -- -- node build/lab/guest/bind-tour.js
 *   npm run lab -- -k custom -m platform -- node build/lab/guest/bind-tour.js
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { findDevice, linux } from "iospan";
import { Proofs } from "./proofs.js";
import { castOf } from "./rigs.js";

const PROGRAM = "dist/cli/main.js";
const RECORD = "/run/iospan/bindings.json";

const machine = linux();
const proofs = new Proofs();
const { first, neighbour, pair, stranger, port } = castOf(process.env["IOSPAN_LAB_MACHINE"]);

interface Answer {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function iospan(...words: readonly string[]): Answer {
  return spawnSync(process.execPath, [PROGRAM, ...words], { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } });
}

/** What the command printed; it has to end well. */
function done(...words: readonly string[]): string {
  const { status, stdout, stderr } = iospan(...words);
  assert.equal(status, 0, `iospan ${words.join(" ")}: ${stdout}${stderr}`);
  assert.equal(stderr, "");
  return stdout;
}

/** What the command was refused with; it has to be told as refused, without a stack trace. */
function refused(...words: readonly string[]): string {
  const { status, stdout, stderr } = iospan(...words);
  assert.equal(status, 1, `iospan ${words.join(" ")}: ${stdout}${stderr}`);
  assert.doesNotMatch(stderr, /^\s+at /m);
  return `${stdout}${stderr}`.trim().replaceAll(/\s+/g, " ");
}

interface Place {
  readonly driver: string | undefined;
  readonly driverOverride: string | undefined;
}

function placeOf(name: string): Place {
  const { driver, driverOverride } = findDevice(machine, name);
  return { driver, driverOverride };
}

/** By what a program opens the device: by its group, or by itself where the kernel has no groups of VFIO's. */
function nodeOf(name: string): string {
  const { group, vfioDevice } = findDevice(machine, name);
  const node = `/dev/vfio/${group}`;
  return existsSync(node) ? node : `/dev/vfio/devices/${vfioDevice}`;
}

const placesOf = (names: readonly string[]) => names.map(placeOf);
const held = (names: readonly string[]) => names.map((name) => placeOf(name).driver?.startsWith("vfio-") === true);

/** The devices go to VFIO and come back to exactly where they were. */
async function goesAndComesBack(what: string, words: readonly string[], names: readonly string[]): Promise<void> {
  await proofs.prove(what, async () => {
    const before = placesOf(names);
    const said = done("bind", ...words);
    assert.deepEqual(
      held(names),
      names.map(() => true),
    );
    for (const name of names) {
      assert.ok(said.includes(name), said);
      assert.ok(existsSync(nodeOf(name)), `${nodeOf(name)} is there`);
    }
    done("unbind", ...names);
    assert.deepEqual(placesOf(names), before);
    return said.trim().replaceAll(/\s+/g, " ");
  });
}

function showsCommandsOnly(): Promise<void> {
  return proofs.prove("a dry run says the commands and changes nothing; they do what it says", async () => {
    const before = placeOf(neighbour);
    const commands = done("bind", "--dry-run", neighbour)
      .split("\n")
      .filter((line) => /^ {2}(echo|modprobe) /.test(line))
      .map((line) => line.trim());
    assert.deepEqual(placeOf(neighbour), before);
    assert.equal(commands.length, before.driver === undefined ? 2 : 3);
    const { status, stderr } = spawnSync("sh", ["-e", "-c", commands.join("\n")], { encoding: "utf8" });
    assert.equal(status, 0, stderr);
    assert.equal(placeOf(neighbour).driver, "vfio-pci");
    // Iospan did not bind it, so the kernel is asked, and finds the driver that it found at boot.
    assert.match(done("unbind", neighbour), /the kernel was asked/);
    assert.deepEqual(placeOf(neighbour), before);
    return commands.join("; ");
  });
}

function bindsAllOrNone(): Promise<void> {
  return proofs.prove("one that cannot be bound brings the others back", async () => {
    const before = placesOf([first, neighbour]);
    const said = refused("bind", first, neighbour, bridgeOf(first));
    assert.match(said, /is a bridge/);
    assert.deepEqual(placesOf([first, neighbour]), before);
    return said;
  });
}

/** The root port that a device is behind. */
function bridgeOf(name: string): string {
  return realpathSync(`/sys/bus/pci/devices/${name}`).split("/").at(-2) ?? "";
}

/** Virtio devices that carry a mounted folder, or a port that the lab itself speaks by. */
function lifelinesOfTheGuest(): readonly (readonly [string, RegExp])[] {
  const mounted = readFileSync("/proc/mounts", "utf8").split("\n");
  return readdirSync("/sys/bus/virtio/devices").flatMap((name): (readonly [string, RegExp])[] => {
    const path = realpathSync(`/sys/bus/virtio/devices/${name}`);
    const device = /\/(\d{4}:[0-9a-f:.]+)\/virtio\d+$/.exec(path)?.[1];
    if (device === undefined) return [];
    const tag = existsSync(`${path}/mount_tag`)
      ? readFileSync(`${path}/mount_tag`, "utf8").replace(/\0.*/s, "").trim()
      : "";
    if (tag !== "" && mounted.some((line) => line.startsWith(`${tag} `)))
      return [[device, new RegExp(`is mounted from the hypervisor's folder ${tag}|are mounted from`)]];
    return existsSync(`${path}/virtio-ports`)
      ? [[device, /\/dev\/vport\d+p\d+ .*is open in process|console is hvc/]]
      : [];
  });
}

async function keepsTheGuestAlive(): Promise<void> {
  const lifelines = lifelinesOfTheGuest();
  await proofs.prove("the guest has devices that it lives by", async () => {
    assert.ok(lifelines.length >= 2, `${lifelines.length}`);
  });
  for (const [device, reason] of lifelines) {
    await proofs.prove(`what the guest lives by is not taken: ${device}`, async () => {
      const before = placeOf(device);
      const said = refused("bind", device);
      assert.match(said, reason);
      assert.match(said, /--force/);
      assert.deepEqual(placeOf(device), before);
      assert.match(refused("bind", "--dry-run", device), reason);
      return said;
    });
  }
}

/** A disk with swap on it. A file system would do as well, but needs programs that the guest lacks. */
async function keepsSwap(): Promise<void> {
  const disk = readdirSync("/sys/class/block").find((name) => /^nvme\d+n\d+$/.test(name) && isOf(name, neighbour));
  const what = "a disk with swap on it stays";
  if (disk === undefined || !existsSync("/proc/swaps"))
    return proofs.skip(what, "no NVMe disk, or a kernel without swap");
  await proofs.prove(what, async () => {
    const sides = [neighbour, stranger];
    const before = placesOf(sides);
    shell(`mkswap /dev/${disk} && swapon /dev/${disk}`);
    try {
      const said = refused("bind", ...sides);
      assert.match(said, new RegExp(`swap is on /dev/${disk}`));
      assert.deepEqual(placesOf(sides), before);
      if (hasTwoPaths(disk)) assert.match(done("bind", "--dry-run", neighbour), /goes on over another path/);
      else refused("bind", neighbour);
      return said;
    } finally {
      shell(`swapoff /dev/${disk}`);
    }
  });
}

/** With multipath, the disk hangs below its subsystem, and not below a controller. */
function hasTwoPaths(disk: string): boolean {
  return realpathSync(`/sys/class/block/${disk}`).includes("/nvme-subsys");
}

function isOf(disk: string, device: string): boolean {
  return hasTwoPaths(disk) || realpathSync(`/sys/class/block/${disk}`).includes(`/${device}/`);
}

function shell(script: string): void {
  const { status, stderr } = spawnSync("sh", ["-e", "-c", script], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
}

function tellsWhoHolds(): Promise<void> {
  return proofs.prove("a device whose group is open stays on VFIO, and the process is named", async () => {
    const before = placeOf(first);
    done("bind", first);
    const holder = spawn("sh", ["-c", `exec 9<>${nodeOf(first)}; echo open; read line`], { stdio: "pipe" });
    try {
      await said(holder);
      const answer = refused("unbind", first);
      assert.match(answer, new RegExp(`\\b${holder.pid}\\b`));
      assert.deepEqual(held([first]), [true]);
      return answer;
    } finally {
      await ended(holder);
      done("unbind", first);
      assert.deepEqual(placeOf(first), before);
    }
  });
}

function said(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.stdout?.once("data", () => resolve());
    child.once("error", reject);
    child.once("exit", (status) => reject(new Error(`it ended with ${status}`)));
  });
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.removeAllListeners("exit");
    child.once("exit", () => resolve());
    child.stdin?.end("\n");
    if (child.exitCode !== null) resolve();
  });
}

/** Before Linux 6.15 a device has no group before a driver probes it. */
function groupComesLater(): Promise<void> {
  return proofs.prove("a group that nobody knows yet, in two steps", async () => {
    const before = placesOf(pair);
    const [one, other] = pair;
    assert.match(done("bind", "--group", one), /in no group/);
    assert.deepEqual(held(pair), [true, false]);
    done("bind", other);
    assert.equal(findDevice(machine, one).group, findDevice(machine, other).group);
    done("unbind", one, other);
    assert.deepEqual(placesOf(pair), before);
  });
}

function remembers(): Promise<void> {
  return proofs.prove("the status tells who bound what, and --all brings all back", async () => {
    const names = [first, ...pair];
    const before = placesOf(names);
    done("bind", ...names);
    const status = JSON.parse(done("bind", "--status", "--json"));
    const bound: readonly { readonly name: string; readonly previousDriver: string | null }[] = status.bound;
    assert.deepEqual(bound.map(({ name }) => name).toSorted(), names.toSorted());
    for (const [index, name] of names.entries()) {
      const entry = bound.find((each) => each.name === name);
      assert.equal(entry?.previousDriver ?? undefined, before[index]?.driver);
    }
    assert.equal(JSON.parse(readFileSync(RECORD, "utf8")).bootId, bootId());
    done("unbind", "--all");
    assert.deepEqual(placesOf(names), before);
    assert.deepEqual(JSON.parse(done("bind", "--json")).bound, []);
    return `${bound.length} devices`;
  });
}

function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

function forgetsAnotherBoot(): Promise<void> {
  return proofs.prove("what was noted before a reboot is not believed", async () => {
    const before = placeOf(first);
    done("bind", first);
    writeFileSync(RECORD, readFileSync(RECORD, "utf8").replace(bootId(), "another boot"));
    assert.deepEqual(JSON.parse(done("bind", "--json")).bound, []);
    assert.match(done("unbind", first), /the kernel was asked/);
    assert.equal(placeOf(first).driverOverride, undefined);
    assert.equal(placeOf(first).driver, before.driver);
  });
}

console.log("iospan bind and unbind");
await goesAndComesBack("a PCI device", [first], [first]);
await goesAndComesBack("a disk with its driver", [neighbour], [neighbour]);
if (findDevice(machine, pair[0]).group === undefined) await groupComesLater();
else await goesAndComesBack("a group, by one of its functions", ["--group", pair[0]], pair);
await goesAndComesBack("both interfaces of a disk at once", [neighbour, stranger], [neighbour, stranger]);
if (port !== undefined) await goesAndComesBack("a platform device and a PCI device", [port, first], [port, first]);
await showsCommandsOnly();
await bindsAllOrNone();
await keepsTheGuestAlive();
await keepsSwap();
await tellsWhoHolds();
await remembers();
await forgetsAnotherBoot();
proofs.summarize();

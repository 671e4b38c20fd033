import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { stripVTControlCharacters } from "node:util";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CommandWorld } from "../../src/cli/bind/command-world.js";
import { EtcFiles } from "../../src/cli/bind/etc-files.js";
import type { BindFlags, UnbindFlags } from "../../src/cli/bind/options.js";
import { runBind } from "../../src/cli/bind/run.js";
import { runUnbind } from "../../src/cli/bind/run-unbind.js";
import { stateFolder } from "../../src/cli/bind/state-folder.js";
import { addBind } from "../../src/cli/bind.js";
import { widthOf } from "../../src/cli/text/width.js";
import { addUnbind } from "../../src/cli/unbind.js";
import { findDevice } from "../../src/machine/devices.js";
import { BindingBoard, COMPANION, DISK, DISK_HOME, FIRST, PORT } from "../binding/support.js";
import { errorFrom } from "../support/errors.js";

let board: BindingBoard;
let folder: string;
let world: CommandWorld;
beforeEach(() => {
  board = new BindingBoard();
  folder = mkdtempSync(path.join(tmpdir(), "iospan-bind-"));
  world = {
    machine: board.kernel.machine,
    store: stateFolder(path.join(folder, "run/iospan")),
    root: true,
    etc: new EtcFiles(folder),
    modprobe: (driver) => board.tree.driver(driver === "vfio-platform" ? "platform" : "pci", driver),
  };
});
afterEach(() => {
  board[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

type Run<Flags> = (words: readonly string[], flags: Flags, streams: never, open: () => CommandWorld) => Promise<number>;

async function captured<Flags>(run: Run<Flags>, words: readonly string[], flags: Flags) {
  const [out, err]: [string[], string[]] = [[], []];
  const stream = (into: string[]) => ({ write: (text: string) => into.push(text) });
  const streams = { stdout: stream(out), stderr: stream(err), env: {} };
  const exitCode = await run(words, flags, streams as never, () => world);
  return { exitCode, stdout: out.join(""), stderr: err.join("") };
}

const bind = (words: readonly string[], flags: BindFlags = {}) => captured(runBind, words, flags);
const unbind = (words: readonly string[], flags: UnbindFlags = {}) => captured(runUnbind, words, flags);
const driverOf = (name: string) => findDevice(board.kernel.machine, name).driver;
const mountDisk = () => {
  const disk = `${DISK_HOME}/nvme/nvme0/nvme0n1`;
  board.block("nvme0n1", disk, { dev: "259:0" });
  board.block("nvme0n1p2", `${disk}/nvme0n1p2`, { dev: "259:2", partition: "2" });
  board.tree.file("/proc/self/mountinfo", "30 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n");
};

describe("iospan bind", () => {
  it("tells where each device came from and went, and the way back", async () => {
    expect(await bind(["21:00.0", PORT])).toEqual({
      exitCode: 0,
      stdout: `bound
  0000:21:00.0      nvme → vfio-pci  group 8
  9030000.dma-port  dma-port-driver → vfio-platform  group 7
back again: sudo iospan unbind 0000:21:00.0 9030000.dma-port
`,
      stderr: "",
    });
    expect((await bind([], {})).stdout).toBe(`On VFIO, bound by iospan
  0000:21:00.0      vfio-pci  /dev/vfio/8  back to nvme
  9030000.dma-port  vfio-platform  /dev/vfio/7  back to dma-port-driver
On VFIO, bound by others
  0000:0a:00.0      vfio-pci  /dev/vfio/9  override vfio-pci
5 other devices on other drivers or none: iospan topology
`);
    expect(await unbind([], { all: true })).toEqual({
      exitCode: 0,
      stdout: `unbound
  0000:21:00.0      vfio-pci → nvme
  9030000.dma-port  vfio-platform → dma-port-driver
`,
      stderr: "",
    });
    expect([DISK, PORT].map(driverOf)).toEqual(["nvme", "dma-port-driver"]);
  });

  it("refuses what cuts the machine off, and does it by force", async () => {
    mountDisk();
    const refused = await bind([DISK]);
    expect(refused).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: `error: / is mounted from /dev/nvme0n1p2, which is on 0000:21:00.0
hint:  take it out of use first, or cut it off all the same: --force
nothing was changed
`,
    });
    expect(driverOf(DISK)).toBe("nvme");
    const forced = await bind([DISK], { force: true });
    expect(forced.exitCode).toBe(0);
    expect(forced.stdout).toContain("note: / is mounted from /dev/nvme0n1p2");
    expect(driverOf(DISK)).toBe("vfio-pci");
  });

  it("shows the commands of a dry run, and what would be refused, to anybody", async () => {
    world = { ...world, root: false };
    const { exitCode, stdout } = await bind([DISK], { dryRun: true });
    expect(exitCode).toBe(0);
    expect(stdout).toContain(`as root, nothing of it is done now
  echo vfio-pci > /sys/bus/pci/devices/0000:21:00.0/driver_override
  echo 0000:21:00.0 > /sys/bus/pci/drivers/nvme/unbind
  echo 0000:21:00.0 > /sys/bus/pci/drivers_probe
`);
    mountDisk();
    const refused = await bind([DISK], { dryRun: true });
    expect(refused).toMatchObject({ exitCode: 1, stdout: expect.stringContaining("refused: / is mounted") });
    expect(driverOf(DISK)).toBe("nvme");
    expect(readdirSync(folder)).toEqual([]);
  });

  it("says at once that it needs root", async () => {
    world = { ...world, root: false };
    for (const attempt of [() => bind([DISK]), () => unbind([DISK])]) {
      const { exitCode, stderr } = await attempt();
      expect(exitCode).toBe(1);
      expect(stderr).toMatch(/needs root[\s\S]*sudo iospan (un)?bind 0000:21:00\.0/);
    }
    expect((await bind([])).exitCode).toBe(0);
  });

  it("names companions, with the command that takes them", async () => {
    const { stdout } = await bind([FIRST]);
    expect(stdout.replaceAll(/\s+/g, " ")).toContain(
      `group 5 is not viable yet, all its devices go to VFIO or none: ${COMPANION} is on ahci; sudo iospan bind --group ${FIRST}`,
    );
    expect((await bind([FIRST], { group: true })).stdout).toContain("pcieport, a bridge that stays");
    board.tree.remove("/sys/devices/pci0000:00/0000:00:02.0/driver");
    board.tree.driver("pci", "shpchp");
    board.tree.link("/sys/devices/pci0000:00/0000:00:02.0/driver", "/sys/bus/pci/drivers/shpchp");
    expect((await bind([FIRST], { group: true })).stdout.replaceAll(/\s+/g, " ")).toContain(
      "group 5 is not viable: 0000:00:02.0, a bridge, which VFIO does not take, is on shpchp; take that from it: " +
        "echo 0000:00:02.0 > /sys/bus/pci/devices/0000:00:02.0/driver/unbind",
    );
  });

  it("loads drivers with --load, and says so in a dry run", async () => {
    board.tree.remove("/sys/bus/platform/drivers/vfio-platform");
    expect((await bind([PORT])).stderr).toMatch(/hint: {2}load it: modprobe vfio-platform/);
    expect((await bind([PORT], { load: true, dryRun: true })).stdout).toContain("  modprobe vfio-platform\n");
    expect((await bind([PORT], { load: true })).exitCode).toBe(0);
    expect(driverOf(PORT)).toBe("vfio-platform");
  });

  it("prints the files that make it last, or writes them, and unbind removes them", async () => {
    const rule = "/etc/udev/rules.d/05-iospan-0000-21-00.0.rules";
    const printed = await bind([], { persist: DISK });
    expect(printed.stdout).toContain(`${rule}\n  # Written by iospan bind --persist for ${DISK}`);
    expect(readdirSync(folder)).not.toContain("etc");
    expect((await bind([DISK], { persist: "write" })).stdout).toContain(`${rule}, written`);
    expect(readFileSync(path.join(folder, rule), "utf8")).toContain('ATTR{driver_override}="vfio-pci"');
    expect((await unbind([DISK])).stdout).not.toContain("removed");
    expect((await unbind([DISK], { persist: true })).stdout).toContain(`removed ${rule}`);
    expect(readdirSync(path.join(folder, "etc/udev/rules.d"))).toEqual([]);
  });

  it("writes no files for devices that could not be bound", async () => {
    board.kernel.rules = { ...board.kernel.rules, probe: (driver) => (driver === "vfio-pci" ? "EINVAL" : "ok") };
    const { exitCode, stderr } = await bind([DISK], { persist: "write" });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("as before");
    mountDisk();
    expect((await bind([DISK], { persist: "write" })).exitCode).toBe(1);
    expect(readdirSync(path.join(folder, "etc/udev/rules.d"))).toEqual([]);
  });

  it("keeps to the width, commands and files aside", async () => {
    mountDisk();
    const texts = [await bind([DISK]), await bind([FIRST]), await bind([]), await unbind([], { all: true })];
    const lines = texts.flatMap(({ stdout, stderr }) => `${stdout}${stderr}`.split("\n"));
    expect(lines.filter((each) => widthOf(stripVTControlCharacters(each)) > 80)).toEqual([]);
  });
});

describe("as JSON", () => {
  it("is one document, whatever comes of it", async () => {
    mountDisk();
    const refused = JSON.parse((await bind([DISK], { json: true })).stdout);
    expect(refused).toMatchObject({
      version: 1,
      done: false,
      refusals: [{ device: DISK, hint: expect.stringContaining("--force") }],
      lifelines: [{ kind: "mount", device: DISK, cuts: true }],
    });
    const done = JSON.parse((await bind([PORT], { json: true })).stdout);
    expect(done).toMatchObject({
      done: true,
      dryRun: false,
      devices: [{ name: PORT, bus: "platform", group: 7, driver: "vfio-platform", previousDriver: "dma-port-driver" }],
    });
    const status = JSON.parse((await bind([], { json: true })).stdout);
    expect(status).toMatchObject({ bound: [{ name: PORT, previousDriver: "dma-port-driver" }], astray: [], others: 6 });
    const dry = JSON.parse((await unbind([PORT], { json: true, dryRun: true })).stdout);
    expect(dry).toMatchObject({ done: false, dryRun: true, devices: [{ name: PORT, way: "restored" }] });
    expect(dry.commands).toHaveLength(3);
    const back = JSON.parse((await unbind([PORT], { json: true })).stdout);
    expect(back).toMatchObject({
      done: true,
      devices: [{ previousDriver: "vfio-platform", driver: "dma-port-driver" }],
    });
  });

  it("has failures, too", async () => {
    board.kernel.rules = { ...board.kernel.rules, probe: (driver) => (driver === "vfio-pci" ? "EINVAL" : "ok") };
    const { exitCode, stdout } = await bind([DISK], { json: true });
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: "ERR_IOSPAN_BIND_REFUSED" } });
  });
});

describe("the command line", () => {
  it.each([
    ["a name that is wrong", () => bind(["0000:21:00.1"]), "ERR_IOSPAN_NO_DEVICE"],
    ["--status with a device", () => bind([DISK], { status: true }), "ERR_IOSPAN_INVALID_ARGUMENT"],
    ["--force alone", () => bind([], { force: true }), "ERR_IOSPAN_INVALID_ARGUMENT"],
    ["unbind alone", () => unbind([]), "ERR_IOSPAN_INVALID_ARGUMENT"],
    ["a driver that is not VFIO's", () => bind([DISK], { driver: "ahci" }), "ERR_IOSPAN_INVALID_ARGUMENT"],
    ["another that is not loaded", () => bind([DISK], { driver: "nvmet", load: true }), "ERR_IOSPAN_INVALID_ARGUMENT"],
    ["a path for a driver", () => bind([DISK], { driver: "../vfio-pci" }), "ERR_IOSPAN_INVALID_ARGUMENT"],
    ["another bus's", () => bind([DISK], { driver: "vfio-platform", load: true }), "ERR_IOSPAN_INVALID_ARGUMENT"],
  ])("refuses %s, for run() to tell", async (_, attempt, code) => {
    expect((await errorFrom(attempt())).code).toBe(code);
    expect(driverOf(DISK)).toBe("nvme");
  });

  it.each([
    ["bind", addBind],
    ["unbind", addUnbind],
  ] as const)("has help for %s", (name, add) => {
    const program = new Command("iospan");
    add(program, { stdout: { write: () => {} }, stderr: { write: () => {} }, env: {} }, () => {});
    const [command] = program.commands;
    expect(command?.name()).toBe(name);
    expect(command?.helpInformation()).toContain("--dry-run");
  });
});

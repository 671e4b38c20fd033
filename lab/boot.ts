import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Conversation, converse } from "./conversation.js";
import { makeDeviceTree } from "./device-tree.js";
import { type Machine, optionValue } from "./machines.js";
import type { Outcome } from "./outcome.js";
import { PROJECT } from "./project.js";
import type { Emulator } from "./qemu.js";
import { scriptOf, type Task } from "./script.js";

/** Everything one run needs, built and ready. */
export interface Boot extends Omit<Conversation, "script"> {
  readonly emulator: Emulator;
  readonly machine: Machine;
  /** The kernel. */
  readonly image: string;
  readonly initramfs: string;
  readonly userland: string;
  /** More kernel parameters, from the user. */
  readonly append: string;
  readonly task: Task;
  /** A folder for this run only. */
  readonly scratch: string;
  /** The file for every word that firmware and kernel say. */
  readonly log: string;
  readonly signal: AbortSignal;
}

const DISK_SIZE = 64 * 1024 * 1024;

/** The ports between the guest and the lab, in the order of the file descriptors that QEMU inherits. */
const PORTS = { command: ["control", "stdout", "stderr"], shell: ["control", "console"] } as const;
const FIRST_FD = 3;

/** Boots a guest, runs the task in it and tells how it ended. No process is left, however it ends. */
export async function boot(options: Boot): Promise<Outcome> {
  const disk = join(options.scratch, "nvme.img");
  await writeFile(disk, "");
  await truncate(disk, DISK_SIZE);
  await writeFile(options.log, "");
  const ports = options.task.command === "shell" ? PORTS.shell : PORTS.command;
  const tree = await deviceTree(options, disk);
  const qemu = start(options.emulator, qemuArguments(options, disk, tree, ports), ports.length);
  const closed = once(qemu, "close");
  const kill = (): void => void qemu.kill("SIGKILL");
  options.signal.addEventListener("abort", kill);
  try {
    options.signal.throwIfAborted();
    return await converse(qemu, qemu.stdio.slice(FIRST_FD), closed, { ...options, script: scriptOf(options.task) });
  } finally {
    options.signal.removeEventListener("abort", kill);
    kill();
    // Closed means: gone, and everything the guest printed has been passed on.
    await closed;
  }
}

function start(emulator: Emulator, args: readonly string[], ports: number): ChildProcess {
  const pipes = Array.from({ length: ports }, () => "pipe" as const);
  // setpriv has the kernel end QEMU with this program, even when this program is killed outright.
  const command = ["--pdeathsig", "KILL", ...emulator.command, ...args];
  return spawn("setpriv", command, { stdio: ["ignore", "ignore", "pipe", ...pipes] });
}

/** The file with the corrected device tree, for a machine that has one. */
async function deviceTree({ machine, emulator, scratch }: Boot, disk: string): Promise<string | undefined> {
  const { treeChanges } = machine;
  if (treeChanges === undefined) return undefined;
  return makeDeviceTree(emulator, machine.arguments({ disk }), treeChanges, scratch);
}

function qemuArguments(options: Boot, disk: string, tree: string | undefined, ports: readonly string[]): string[] {
  const { machine, emulator } = options;
  const parameters = ["console=ttyAMA0", "loglevel=7", "panic=-1", "rdinit=/init"];
  const append = [...parameters, ...machine.kernelParameters, options.append].join(" ").trim();
  return [
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-accel", "tcg,thread=multi"],
    ...machine.arguments({ disk }),
    ...(machine.uefi ? ["-bios", emulator.firmware] : []),
    ...(tree === undefined ? [] : ["-dtb", tree]),
    ...["-kernel", options.image, "-initrd", options.initramfs, "-append", append],
    ...["-chardev", `file,id=log,path=${optionValue(options.log)}`, "-serial", "chardev:log"],
    ...shared("project", PROJECT),
    ...shared("userland", options.userland),
    ...["-device", "virtio-serial-pci,bus=pcie.0"],
    ...ports.flatMap((name, index) => port(name, FIRST_FD + index)),
  ];
}

/** A folder of the host that the guest can mount, and only read. */
function shared(tag: string, path: string): string[] {
  const folder = `local,id=${tag},path=${optionValue(path)},security_model=none,readonly=on,multidevs=remap`;
  return ["-fsdev", folder, "-device", `virtio-9p-pci,fsdev=${tag},mount_tag=${tag},bus=pcie.0`];
}

function port(name: string, fd: number): string[] {
  const device = name === "console" ? "virtconsole,chardev=console" : `virtserialport,chardev=${name},name=${name}`;
  return ["-chardev", `socket,id=${name},fd=${fd}`, "-device", device];
}

import type { Process } from "../process.js";
import { attribute, directory, type Entries, link, type Node } from "./tree.js";

/** What /proc tells besides the process. */
export interface ProcfsContent {
  readonly release: string;
  readonly pageSize: number;
  /** Bytes of RAM. */
  readonly memory: number;
}

/** `/proc`, as far as one process and the kernel's release go. */
export function procfs(process: Process, { release, pageSize, memory }: ProcfsContent): Node {
  return directory({
    self: link(String(process.pid)),
    [String(process.pid)]: directory({
      auxv: { kind: "file", read: () => auxiliaryVector(pageSize) },
      comm: attribute(() => process.command),
      limits: { kind: "file", read: () => limits(process) },
      status: { kind: "file", read: () => status(process, pageSize) },
      uid_map: attribute(() => ["0", "0", "4294967295"].map((each) => each.padStart(10)).join(" ")),
      fd: directory(() => fdEntries(process, (_, path) => link(path))),
      fdinfo: directory(() => fdEntries(process, (fdinfo) => ({ kind: "file", read: () => fdinfo }))),
    }),
    cmdline: attribute(() => ""),
    meminfo: attribute(() => `MemTotal:       ${String(memory / 1024).padStart(8)} kB`),
    version: attribute(() => `Linux version ${release} (iospan@simulator)`),
    sys: directory({ kernel: directory({ osrelease: attribute(() => release), ostype: attribute(() => "Linux") }) }),
  });
}

function fdEntries(process: Process, node: (fdinfo: string, path: string) => Node): Entries {
  return Object.fromEntries(process.fds.entries().map(([fd, file]) => [String(fd), node(file.fdinfo(), file.path)]));
}

/** CAP_LAST_CAP of include/uapi/linux/capability.h is 40. */
const ALL_CAPABILITIES = 2n ** 41n - 1n;
const CAP_IPC_LOCK = 1n << 14n;

/** Who it is, and the lines about locked memory, in the kernel's layout (fs/proc/array.c, fs/proc/task_mmu.c). */
function status(process: Process, pageSize: number): string {
  const { command, pid, lockedPages, pinnedPages } = process;
  const kilobytes = (pages: number) => `${((pages * pageSize) / 1024).toString().padStart(8)} kB`;
  const capabilities = process.hasCapability("CAP_IPC_LOCK") ? ALL_CAPABILITIES : ALL_CAPABILITIES & ~CAP_IPC_LOCK;
  const lines = [
    `Name:\t${command}`,
    `Pid:\t${pid}`,
    "Uid:\t0\t0\t0\t0",
    "Gid:\t0\t0\t0\t0",
    "Groups:\t0 ",
    `VmLck:\t${kilobytes(lockedPages)}`,
    `VmPin:\t${kilobytes(pinnedPages)}`,
    `CapEff:\t${capabilities.toString(16).padStart(16, "0")}`,
  ];
  return `${lines.join("\n")}\n`;
}

/** fs/proc/base.c, proc_pid_limits. */
function limits({ limits: { files, memlock } }: Process): string {
  const row = (name: string, soft: string, hard: string, unit: string) =>
    `${name.padEnd(25)} ${soft.padEnd(20)} ${hard.padEnd(20)} ${unit.padEnd(10)}\n`;
  const limit = (value: number) => (value === Number.POSITIVE_INFINITY ? "unlimited" : String(value));
  return [
    row("Limit", "Soft Limit", "Hard Limit", "Units"),
    row("Max open files", limit(files), limit(files), "files"),
    row("Max locked memory", limit(memlock), limit(memlock), "bytes"),
  ].join("");
}

/** Pairs of a type and a value, the last one AT_NULL (fs/binfmt_elf.c, create_elf_tables). */
function auxiliaryVector(pageSize: number): Uint8Array {
  const [AT_PAGESZ, AT_NULL] = [6n, 0n];
  const words = [AT_PAGESZ, BigInt(pageSize), AT_NULL, 0n];
  const view = new DataView(new ArrayBuffer(words.length * 8));
  for (const [index, word] of words.entries()) view.setBigUint64(index * 8, word, true);
  return new Uint8Array(view.buffer);
}

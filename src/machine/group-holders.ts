import { SyscallError } from "../syscalls/syscalls.js";
import { groupNode } from "./groups.js";
import type { DeviceState, Machine } from "./machine.js";

/** A process that has an IOMMU group, or a device of it, open. */
export interface GroupHolder {
  readonly pid: number;
  /** The process's name, as in `/proc/PID/comm`. */
  readonly command: string;
}

/**
 * Who has the group open, by its own node, by a device's node in `/dev/vfio/devices`, or by a device's descriptor that
 * outlived the group's (told apart since Linux 6.18, which names the device in fdinfo).
 *
 * A best effort: processes that may not be looked into are left out, and so is one that only kept a device's region mapped.
 * @param known devices of the group that have just been read.
 */
export function groupHolders(
  machine: Machine,
  group: number,
  known: readonly DeviceState[] = [],
): readonly GroupHolder[] {
  const targets = groupTargets(machine, group, known);
  return names(machine, "/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => names(machine, `/proc/${pid}/fd`).some((fd) => holds(machine, pid, fd, targets)))
    .map((pid) => ({ pid: Number(pid), command: readText(machine, `/proc/${pid}/comm`)?.trimEnd() ?? "?" }))
    .sort((a, b) => a.pid - b.pid);
}

/** This process's number, as the same /proc gives it that holders are found in; undefined where it does not tell. */
export function ownPid(machine: Machine): number | undefined {
  const link = tolerant(() => machine.syscalls.readLink("/proc/self"));
  return link !== undefined && /^\d+$/.test(link) ? Number(link) : undefined;
}

/** `4711 (qemu-system-aar), 4712 (nvmf_tgt)` */
export function formatHolders(holders: readonly GroupHolder[]): string {
  return holders.map(({ pid, command }) => `${pid} (${command})`).join(", ");
}

interface GroupTargets {
  readonly nodes: ReadonlySet<string>;
  readonly devices: ReadonlySet<string>;
}

function groupTargets(machine: Machine, group: number, known: readonly DeviceState[]): GroupTargets {
  const path = `/sys/kernel/iommu_groups/${group}/devices`;
  const devices = names(machine, path);
  const unread = devices.filter((name) => !known.some((device) => device.name === name));
  const characterDevices = [
    ...known.map(({ vfioDevice }) => vfioDevice).filter((name) => name !== undefined),
    ...unread.flatMap((name) => names(machine, `${path}/${name}/vfio-dev`)),
  ].map((name) => `/dev/vfio/devices/${name}`);
  const nodes = [groupNode(group), groupNode(group, { noiommu: true }), ...characterDevices];
  return { nodes: new Set(nodes), devices: new Set(devices) };
}

function holds(machine: Machine, pid: string, fd: string, { nodes, devices }: GroupTargets): boolean {
  const target = tolerant(() => machine.syscalls.readLink(`/proc/${pid}/fd/${fd}`));
  if (target === undefined) return false;
  if (nodes.has(target)) return true;
  // The descriptor that VFIO_GROUP_GET_DEVICE_FD gives has no path of its own.
  if (!target.startsWith("anon_inode:[vfio-device]")) return false;
  const path = /^vfio-device-syspath:\s*(\S+)$/m.exec(readText(machine, `/proc/${pid}/fdinfo/${fd}`) ?? "")?.[1];
  return path !== undefined && devices.has(path.slice(path.lastIndexOf("/") + 1));
}

function names(machine: Machine, path: string): readonly string[] {
  return tolerant(() => machine.syscalls.readDirectory(path)) ?? [];
}

function readText(machine: Machine, path: string): string | undefined {
  return tolerant(() => machine.syscalls.readFile(path));
}

/** Processes end and descriptors close while they are looked at, and other users' are closed to us. */
function tolerant<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof SyscallError) return undefined;
    throw error;
  }
}

import { findHolders } from "./find-holders.js";
import type { DeviceState, Machine } from "./machine.js";
import { OptionalFiles } from "./optional-files.js";

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
  const files = new OptionalFiles(machine.syscalls);
  const path = `/sys/kernel/iommu_groups/${group}/devices`;
  const devices = files.names(path) ?? [];
  const unread = devices.filter((name) => !known.some((device) => device.name === name));
  const vfioDevices = [
    ...known.map(({ vfioDevice }) => vfioDevice).filter((name) => name !== undefined),
    ...unread.flatMap((name) => files.names(`${path}/${name}/vfio-dev`) ?? []),
  ];
  return findHolders(files, [{ number: group, devices, vfioDevices }])?.get(group) ?? [];
}

/** This process's number, as the same /proc gives it that holders are found in; undefined where it does not tell. */
export function ownPid(machine: Machine): number | undefined {
  const link = new OptionalFiles(machine.syscalls).target("/proc/self");
  return link !== undefined && /^\d+$/.test(link) ? Number(link) : undefined;
}

/** `4711 (qemu-system-aar), 4712 (nvmf_tgt)` */
export function formatHolders(holders: readonly GroupHolder[]): string {
  return holders.map(({ pid, command }) => `${pid} (${command})`).join(", ");
}

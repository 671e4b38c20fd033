import type { GroupHolder } from "./group-holders.js";
import { groupNode } from "./groups.js";
import type { OptionalFiles } from "./optional-files.js";
import { baseName } from "./sysfs.js";

/** A group, and what it or a device of it is opened by. */
export interface HeldGroup {
  readonly number: number;
  /** Kernel names of its devices. */
  readonly devices: readonly string[];
  /** Their names in /dev/vfio/devices. */
  readonly vfioDevices: readonly string[];
}

/**
 * Who has the groups open, by processes' descriptors; all processes are looked at once for all groups.
 * @returns an entry for each group; undefined where there is no /proc.
 */
export function findHolders(
  files: OptionalFiles,
  groups: readonly HeldGroup[],
): ReadonlyMap<number, readonly GroupHolder[]> | undefined {
  const pids = files.names("/proc")?.filter((name) => /^\d+$/.test(name));
  // A copy without processes is none of a machine without.
  if (pids === undefined || pids.length === 0) return undefined;
  const holders = new Map(groups.map(({ number }) => [number, [] as GroupHolder[]]));
  const targets = targetsOf(groups);
  if (targets.size === 0) return holders;
  for (const pid of pids.map(Number).sort((a, b) => a - b)) {
    const held = heldBy(files, pid, targets);
    if (held.size === 0) continue;
    const holder = { pid, command: files.text(`/proc/${pid}/comm`) ?? "?" };
    for (const group of held) holders.get(group)?.push(holder);
  }
  return holders;
}

/** Groups by what their descriptors lead to: nodes, and names of devices. */
function targetsOf(groups: readonly HeldGroup[]): ReadonlyMap<string, number> {
  const entries = groups.flatMap(({ number, devices, vfioDevices }) => {
    const nodes = [groupNode(number), groupNode(number, { noiommu: true })];
    const characterDevices = vfioDevices.map((name) => `/dev/vfio/devices/${name}`);
    return [...nodes, ...characterDevices, ...devices].map((each) => [each, number] as const);
  });
  return new Map(entries);
}

function heldBy(files: OptionalFiles, pid: number, targets: ReadonlyMap<string, number>): ReadonlySet<number> {
  const held = (files.names(`/proc/${pid}/fd`) ?? []).map((fd) => {
    const target = files.target(`/proc/${pid}/fd/${fd}`);
    if (target?.startsWith("/dev/vfio/")) return targets.get(target);
    return target?.startsWith("anon_inode:[vfio-device]") ? targets.get(deviceOf(files, pid, fd)) : undefined;
  });
  return new Set(held.filter((group) => group !== undefined));
}

/** A device's descriptor has no path of its own; since Linux 6.18 fdinfo names the device. */
function deviceOf(files: OptionalFiles, pid: number, fd: string): string {
  const text = files.text(`/proc/${pid}/fdinfo/${fd}`) ?? "";
  return baseName(/^vfio-device-syspath:\s*(\S+)$/m.exec(text)?.[1] ?? "");
}

import type { MachineReader } from "./machine-reader.js";

/** Members that an array of md's can still lose and work on: none where it is not redundant (drivers/md/md.c, md_default_attrs and md_redundancy_attrs). */
export function spareMembers(reader: MachineReader, path: string): number {
  const level = reader.text(`${path}/md/level`);
  if (level === undefined) return 0;
  const members = Number(reader.text(`${path}/md/raid_disks`)?.split(" ")[0] ?? 2);
  // A mirror needs one; of raid10's pairs, the second that is lost may be of the same pair.
  const spare = { raid1: members - 1, raid4: 1, raid5: 1, raid6: 2, raid10: 1 }[level] ?? 0;
  return Math.max(0, spare - Number(reader.text(`${path}/md/degraded`) ?? 0));
}

const spareOfProfile: Readonly<Record<string, number>> = {
  raid1: 1,
  raid1c3: 2,
  raid1c4: 3,
  raid10: 1,
  raid5: 1,
  raid6: 2,
};
/** With the copies on one device, or without copies. */
const SINGLE = ["single", "dup", "raid0"];

/** Devices that a btrfs can lose, whatever of it is on them: the least of its profiles' (fs/btrfs/sysfs.c, raid_attrs). */
export function spareBtrfsDevices(reader: MachineReader, uuid: string): number {
  const profiles = ["data", "metadata", "system", "mixed"]
    .flatMap((type) => reader.names(`/sys/fs/btrfs/${uuid}/allocation/${type}`))
    .filter((name) => name in spareOfProfile || SINGLE.includes(name));
  return profiles.length === 0 ? 0 : Math.min(...profiles.map((name) => spareOfProfile[name] ?? 0));
}

import { BlockDevices } from "./block-devices.js";
import type { MachineReader } from "./machine-reader.js";
import { type Mount, mountOf, readMounts } from "./mounts.js";

/** What is mounted, and the block devices below it. */
export class Storage {
  readonly mounts: readonly Mount[];
  readonly blocks: BlockDevices;
  /** By their first, the block devices that a btrfs is spread over (fs/btrfs/sysfs.c). */
  readonly #btrfs: readonly (readonly string[])[];

  constructor(reader: MachineReader) {
    this.mounts = readMounts(reader);
    this.blocks = new BlockDevices(reader);
    this.blocks.hostsOf = (file) => this.#hostsOf(file);
    this.#btrfs = reader.names("/sys/fs/btrfs").map((uuid) => reader.names(`/sys/fs/btrfs/${uuid}/devices`));
  }

  /** The block devices that a file system needs, each of them. */
  blocksOf({ type, source, number }: Mount): readonly string[] {
    if (type === "zfs") return this.zfsMembers();
    // bcachefs lists its devices: /dev/sda:/dev/sdb
    const nodes = source.startsWith("/dev/") ? source.split(/:(?=\/dev\/)/) : [];
    const named = nodes.map((node) => this.blocks.byNode(node));
    const found = [this.blocks.byNumber(number), ...named].filter((name) => name !== undefined);
    const spread = this.#btrfs.filter((members) => members.some((name) => found.includes(name)));
    return [...new Set([...found, ...spread.flat()])];
  }

  /** ZFS opens disks in a way that sysfs does not show; but it names the partitions it makes. */
  zfsMembers(): readonly string[] {
    return this.blocks.names.filter((name) => this.blocks.property(name, "PARTNAME")?.startsWith("zfs-") === true);
  }

  #hostsOf(file: string): readonly string[] {
    const mount = mountOf(this.mounts, file);
    return mount === undefined ? [] : this.blocksOf(mount);
  }

  /** The block devices that a file is on, or is. */
  blocksBelow(file: string): readonly string[] {
    const name = this.blocks.byNode(file);
    return name === undefined ? this.#hostsOf(file) : [name];
  }
}

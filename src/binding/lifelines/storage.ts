import { BlockDevices } from "./block-devices.js";
import type { MachineReader } from "./machine-reader.js";
import { type Mount, mountOf, readMounts } from "./mounts.js";
import { spareBtrfsDevices } from "./redundancy.js";

/** What is mounted, and the block devices below it. */
export class Storage {
  readonly mounts: readonly Mount[];
  /** Files and devices that are swapped to. */
  readonly swaps: readonly string[];
  readonly blocks: BlockDevices;
  /** By their first, the block devices that a btrfs is spread over (fs/btrfs/sysfs.c). */
  readonly #btrfs: readonly { readonly uuid: string; readonly members: readonly string[] }[];
  readonly #reader: MachineReader;

  constructor(reader: MachineReader) {
    this.#reader = reader;
    this.mounts = readMounts(reader);
    this.swaps = readSwaps(reader);
    this.blocks = new BlockDevices(reader);
    this.blocks.hostsOf = (file) => this.#hostsOf(file);
    this.#btrfs = reader.names("/sys/fs/btrfs").map((uuid) => ({
      uuid,
      members: reader.names(`/sys/fs/btrfs/${uuid}/devices`),
    }));
  }

  /** The block devices that a file system needs, each of them. */
  blocksOf({ type, source, number }: Mount): readonly string[] {
    if (type === "zfs") return this.zfsMembers();
    // bcachefs lists its devices: /dev/sda:/dev/sdb
    const nodes = source.startsWith("/dev/") ? source.split(/:(?=\/dev\/)/) : [];
    const named = nodes.map((node) => this.blocks.byNode(node));
    const found = [this.blocks.byNumber(number), ...named].filter((name) => name !== undefined);
    const spread = this.#btrfs.filter(({ members }) => members.some((name) => found.includes(name)));
    return [...new Set([...found, ...spread.flatMap(({ members }) => members)])];
  }

  /** How many of {@link blocksOf} a file system can lose and go on. */
  spareBlocks(names: readonly string[]): number {
    const spread = this.#btrfs.find(
      ({ members }) => members.length > 1 && members.some((each) => names.includes(each)),
    );
    return spread === undefined ? 0 : spareBtrfsDevices(this.#reader, spread.uuid);
  }

  /** The block devices that file systems and swap are on directly. */
  get inUse(): readonly string[] {
    return [
      ...this.mounts.flatMap((mount) => this.blocksOf(mount)),
      ...this.swaps.flatMap((file) => this.blocksBelow(file)),
    ];
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

/** The kernel's list (mm/swapfile.c, swap_show). */
function readSwaps(reader: MachineReader): readonly string[] {
  return reader.lines("/proc/swaps").flatMap((line) => {
    const [file = ""] = line.split(/\s/);
    return file.startsWith("/") ? [file.replace(/\\040\(deleted\)$/, "")] : [];
  });
}

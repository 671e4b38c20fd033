import type { BindingWorld } from "../../src/binding/binding-world.js";
import { memoryStore } from "../../src/binding/record-store.js";
import { SysfsKernel } from "../machine/support/sysfs-kernel.js";
import { type SysfsTree, twoSmmuBoard } from "../machine/support/sysfs-tree.js";

export const BOOT_ID = "5a0e0b1c-0000-4000-8000-000000000001";
export const RECORD = "/run/iospan/bindings.json";

/** The board of two SMMUs with a kernel that binds, and a record in memory. */
export class BindingBoard implements Disposable {
  readonly tree: SysfsTree = twoSmmuBoard();
  readonly kernel: SysfsKernel = new SysfsKernel(this.tree, {
    matches: {
      nvme: ["0000:01:00.0", "0000:21:00.0"],
      ahci: ["0000:01:00.1"],
      "dma-port-driver": ["9030000.dma-port"],
    },
  });
  readonly store = memoryStore(RECORD);

  constructor() {
    this.tree.file("/proc/sys/kernel/random/boot_id", `${BOOT_ID}\n`);
  }

  get world(): BindingWorld {
    return { machine: this.kernel.machine, store: this.store };
  }

  /** What the record says, by device. */
  get remembered(): Record<string, unknown> {
    const text = this.store.read();
    const entries: { device: string }[] = text === undefined ? [] : JSON.parse(text).entries;
    return Object.fromEntries(entries.map(({ device, ...entry }) => [device, entry]));
  }

  /** Something in sysfs as the kernel lays it out: the thing itself and its link in a class or a bus. */
  thing(link: string, path: string, attributes: Readonly<Record<string, string>> = {}): void {
    this.tree.directory(path);
    this.tree.link(link, path);
    for (const [name, text] of Object.entries(attributes)) this.tree.file(`${path}/${name}`, `${text}\n`);
  }

  block(name: string, path: string, attributes: Readonly<Record<string, string>> = {}): void {
    this.thing(`/sys/class/block/${name}`, path, attributes);
  }

  [Symbol.dispose](): void {
    this.tree[Symbol.dispose]();
  }
}

/** The NVMe controller that is alone in its group, and the one in a group of three. */
export const DISK = "0000:21:00.0";
export const DISK_HOME = "/sys/devices/pci0000:20/0000:21:00.0";
export const FIRST = "0000:01:00.0";
export const COMPANION = "0000:01:00.1";
export const FIRST_HOME = "/sys/devices/pci0000:00/0000:00:02.0/0000:01:00.0";
export const PORT = "9030000.dma-port";

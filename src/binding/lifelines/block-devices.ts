import { baseName } from "../../machine/sysfs.js";
import type { Departure, Departures } from "./departures.js";
import { type MachineReader, parentName } from "./machine-reader.js";
import { spareMembers } from "./redundancy.js";

/** What becomes of a block device. */
export interface Fate {
  /** Whether it stops working; else it goes on without a part of it. */
  readonly lost: boolean;
  readonly departure: Departure;
  /** The redundant array that loses a member of it, and works on without. */
  readonly array?: string | undefined;
  /** From the block device to what is on the departing one: `dm-0`, `nvme0n1p3`. */
  readonly through: readonly string[];
}

const GONE = 2;

function severity({ lost, array }: Fate): number {
  if (!lost) return 0;
  return array === undefined ? GONE : 1;
}

/** The machine's block devices, and what each is made of. */
export class BlockDevices {
  readonly #reader: MachineReader;
  readonly #paths: ReadonlyMap<string, string>;
  readonly #numbers = new Map<string, string>();
  readonly #mapped = new Map<string, string>();
  /** The block devices that a file's file system is on. */
  hostsOf: (file: string) => readonly string[] = () => [];

  constructor(reader: MachineReader) {
    this.#reader = reader;
    this.#paths = reader.targets("/sys/class/block");
    for (const [name, path] of this.#paths) {
      const number = reader.text(`${path}/dev`);
      if (number !== undefined) this.#numbers.set(number, name);
      const mapped = name.startsWith("dm-") ? reader.text(`${path}/dm/name`) : undefined;
      if (mapped !== undefined) this.#mapped.set(mapped, name);
    }
  }

  get names(): readonly string[] {
    return [...this.#paths.keys()];
  }

  /** By `259:2`. */
  byNumber(number: string): string | undefined {
    return this.#numbers.get(number);
  }

  /** Its folder below /sys/devices. */
  path(name: string): string | undefined {
    return this.#paths.get(name);
  }

  /** Its nodes, the one that users know first: `/dev/mapper/vg-root`, `/dev/dm-0`. */
  nodesOf(name: string): readonly string[] {
    const mapped = [...this.#mapped].filter(([, each]) => each === name).map(([each]) => `/dev/mapper/${each}`);
    return [...mapped, `/dev/${this.property(name, "DEVNAME") ?? name.replaceAll("!", "/")}`];
  }

  /** What has been built on it: `dm-0`, `md0`. */
  holdersOf(name: string): readonly string[] {
    return this.#reader.names(`${this.#paths.get(name)}/holders`);
  }

  /** The block device and all that it is made of. */
  below(name: string, found: Set<string> = new Set()): ReadonlySet<string> {
    const path = this.#paths.get(name);
    if (path === undefined || found.has(name)) return found;
    found.add(name);
    for (const part of this.#partsOf(name, path).parts) this.below(part, found);
    return found;
  }

  /** By `/dev/sda1`, `/dev/mapper/vg-root` or a link in /dev. */
  byNode(node: string): string | undefined {
    if (!node.startsWith("/dev/")) return undefined;
    const name = node.slice("/dev/".length).replaceAll("/", "!");
    if (this.#paths.has(name)) return name;
    const mapped = /^\/dev\/mapper\/([^/]+)$/.exec(node)?.[1];
    if (mapped !== undefined && this.#mapped.has(mapped)) return this.#mapped.get(mapped);
    const target = this.#reader.target(node);
    return target === undefined || target === node ? undefined : this.byNode(target);
  }

  /** The text of a line `KEY=…` in the block device's uevent. */
  property(name: string, key: string): string | undefined {
    const lines = this.#reader.lines(`${this.#paths.get(name)}/uevent`);
    return lines.find((line) => line.startsWith(`${key}=`))?.slice(key.length + 1);
  }

  /** Undefined for one that nothing happens to. */
  fate(name: string, departures: Departures, above: readonly string[] = []): Fate | undefined {
    const path = this.#paths.get(name);
    if (path === undefined || above.includes(name)) return undefined;
    const through = [...above, name];
    const departure = departures.of(path);
    if (departure !== undefined) return { lost: true, departure, through };
    const { parts, alternatives } = this.#partsOf(name, path);
    const fates = parts.map((part) => this.#partFate(part, departures, through));
    const hit = fates.filter((each) => each !== undefined);
    const [worst] = hit.toSorted((a, b) => severity(b) - severity(a));
    if (worst === undefined) return undefined;
    if (alternatives) return { ...worst, lost: fates.every((each) => each?.lost === true) };
    const gone = hit.filter((each) => severity(each) === GONE).length;
    return gone > 0 && gone <= spareMembers(this.#reader, path) ? { ...worst, array: name } : worst;
  }

  #partFate(part: string, departures: Departures, through: readonly string[]): Fate | undefined {
    if (!part.startsWith("/")) return this.fate(part, departures, through);
    const departure = departures.of(part);
    return departure && { lost: true, departure, through: [...through, baseName(part)] };
  }

  /** Names of block devices, or paths of what is none. */
  #partsOf(name: string, path: string): { readonly parts: readonly string[]; readonly alternatives: boolean } {
    const controllers = this.#controllersOf(path);
    if (controllers.length > 0) return { parts: controllers, alternatives: true };
    const slaves = this.#reader.names(`${path}/slaves`);
    const backing = this.#reader.text(`${path}/loop/backing_file`);
    const hosts = backing === undefined ? [] : this.hostsOf(backing);
    const whole = this.#reader.text(`${path}/partition`) === undefined ? [] : [parentName(path)];
    const multipath = name.startsWith("dm-") && this.#reader.text(`${path}/dm/uuid`)?.startsWith("mpath-") === true;
    return { parts: [...slaves, ...hosts, ...whole], alternatives: multipath };
  }

  /**
   * A namespace that several controllers reach hangs below its subsystem, which links to them (drivers/nvme/host/core.c,
   * nvme_init_subsystem), and works as long as one is there. A controller that is not live is none.
   */
  #controllersOf(path: string): readonly string[] {
    const subsystem = /^.*\/nvme-subsys\d+(?=\/)/.exec(path)?.[0];
    if (subsystem === undefined) return [];
    const controllers = [...this.#reader.targets(subsystem)].filter(([name]) => /^nvme\d+$/.test(name));
    return controllers
      .map(([, target]) => target)
      .filter((target) => (this.#reader.text(`${target}/state`) ?? "live") === "live");
  }
}

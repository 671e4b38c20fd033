import type { BusType, Machine } from "./machine.js";
import { listNames, readAttribute, readLinkName, readNames } from "./sysfs.js";

/** A device's directory in sysfs. It is listed once, and what is not listed is not asked for. */
export class DeviceDirectory {
  readonly name: string;
  readonly bus: BusType;
  readonly path: string;
  readonly #machine: Machine;
  readonly #names: ReadonlySet<string>;

  private constructor(machine: Machine, bus: BusType, name: string, path: string, names: readonly string[]) {
    this.#machine = machine;
    this.bus = bus;
    this.name = name;
    this.path = path;
    this.#names = new Set(names);
  }

  /** Undefined when the bus has no such device, or has it no longer: devices come and go while a list is read. */
  static open(machine: Machine, bus: BusType, name: string): DeviceDirectory | undefined {
    const path = `/sys/bus/${bus}/devices/${name}`;
    const names = listNames(machine, path);
    return names === undefined ? undefined : new DeviceDirectory(machine, bus, name, path, names);
  }

  /** The last component of a link's target; undefined where there is no link. */
  link(name: string): string | undefined {
    return this.#names.has(name) ? readLinkName(this.#machine, `${this.path}/${name}`) : undefined;
  }

  /** The text of an attribute, of the device or in a directory of it; undefined where there is none. */
  attribute(name: string): string | undefined {
    const [first = name] = name.split("/");
    return this.#names.has(first) ? readAttribute(this.#machine, `${this.path}/${name}`) : undefined;
  }

  /** The names in a directory of the device's; none where there is no directory. */
  entries(name: string): readonly string[] {
    return this.#names.has(name) ? readNames(this.#machine, `${this.path}/${name}`) : [];
  }
}

import type { Departure, Departures } from "./departures.js";
import type { MachineReader } from "./machine-reader.js";

/** What becomes of a network interface. */
export interface InterfaceFate {
  readonly departure: Departure;
  /** From the interface down to the one that goes: `bond0`, `eth0`. */
  readonly through: readonly string[];
}

/** The machine's network interfaces, and what each sends its packets by. */
export class NetworkInterfaces {
  readonly #reader: MachineReader;
  readonly #paths: ReadonlyMap<string, string>;

  constructor(reader: MachineReader) {
    this.#reader = reader;
    this.#paths = reader.targets("/sys/class/net");
  }

  /**
   * Follows bonds, bridges, VLANs, macvlans and the like down to the hardware: each has a link `lower_NAME` to what is
   * below (net/core/dev.c, netdev_adjacent_sysfs_add). Undefined for an interface that nothing happens to.
   */
  fate(name: string, departures: Departures, above: readonly string[] = []): InterfaceFate | undefined {
    const path = this.#paths.get(name);
    if (path === undefined || above.includes(name)) return undefined;
    const through = [...above, name];
    const departure = departures.of(path);
    if (departure !== undefined) return { departure, through };
    for (const entry of this.#reader.names(path)) {
      const lower = /^lower_(.+)$/.exec(entry)?.[1];
      const fate = lower === undefined ? undefined : this.fate(lower, departures, through);
      if (fate !== undefined) return fate;
    }
    return undefined;
  }
}

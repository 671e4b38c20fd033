import { baseName } from "../../machine/sysfs.js";
import type { Departure, Departures } from "./departures.js";
import type { MachineReader } from "./machine-reader.js";

/** What becomes of a network interface. */
export interface InterfaceFate {
  readonly departure: Departure;
  /** From the interface down to the one that goes: `bond0`, `eth0`. */
  readonly through: readonly string[];
}

/** An interface that goes while it is in use, as far as one can see. */
export interface DepartingInterface {
  readonly name: string;
  readonly departure: Departure;
  readonly path: string;
}

/** As ovs-vswitchd calls it. */
const DATAPATH = "ovs-system";

/** The machine's network interfaces, and what each sends its packets by. */
export class NetworkInterfaces {
  readonly #reader: MachineReader;
  readonly #paths: ReadonlyMap<string, string>;
  /** Those that go and are up. */
  readonly departing: readonly DepartingInterface[];

  constructor(reader: MachineReader, departures: Departures) {
    this.#reader = reader;
    this.#paths = reader.targets("/sys/class/net");
    this.departing = [...this.#paths].flatMap(([name, path]) => {
      const departure = departures.of(path);
      return departure === undefined || !this.#isUp(path) ? [] : [{ name, departure, path }];
    });
  }

  /** In this process's network namespace: links to those of others are not shown (net/core/net-sysfs.c, net_ns_type_operations). */
  isBelow(folder: string): boolean {
    return [...this.#paths.values()].some((path) => path.startsWith(`${folder}/`));
  }

  /** One of software that does not tell what it sends its packets by: a tunnel, a port of a software switch's. */
  isOpaque(name: string): boolean {
    const path = this.#paths.get(name);
    if (path === undefined || name === "lo" || !path.startsWith("/sys/devices/virtual/net/")) return false;
    return !this.#reader.names(path).some((entry) => entry.startsWith("lower_"));
  }

  #isUp(path: string): boolean {
    return this.#reader.text(`${path}/operstate`) === "up" || this.#reader.text(`${path}/carrier`) === "1";
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
    return this.isOpaque(name) ? this.#overSwitch(through) : undefined;
  }

  /**
   * Open vSwitch has its ports, and the bridges that are its own interfaces, on one datapath: a port's master is the
   * datapath's interface, and nothing in sysfs says which bridge a port belongs to (net/openvswitch/vport-netdev.c).
   */
  #overSwitch(above: readonly string[]): InterfaceFate | undefined {
    const port = this.departing.find(({ path }) => baseName(this.#reader.target(`${path}/master`) ?? "") === DATAPATH);
    return port && { departure: port.departure, through: [...above, DATAPATH, port.name] };
  }
}

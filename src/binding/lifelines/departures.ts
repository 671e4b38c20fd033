import type { DeviceState } from "../../machine/machine.js";
import type { MachineReader } from "./machine-reader.js";

/** A place in sysfs from which everything goes when a device leaves its driver. */
export interface Departure {
  /** The device that was asked for. */
  readonly device: string;
  /** The folder below /sys/devices. */
  readonly path: string;
  /** `0000:01:00.0`; `0000:01:10.0, a virtual function of 0000:01:00.0` */
  readonly place: string;
  /** It is reached over the network by what goes. */
  readonly remote?: boolean | undefined;
}

/** A device that loses its driver because another does. */
export interface LosingConsumer {
  readonly device: string;
  readonly consumer: string;
  readonly driver: string;
}

/** Everything that goes when some devices leave their drivers, all of them at once. */
export class Departures {
  readonly #all: Departure[];
  readonly consumers: readonly LosingConsumer[];

  constructor(reader: MachineReader, devices: readonly DeviceState[]) {
    const found = new Map<string, Departure>();
    const consumers: LosingConsumer[] = [];
    for (const device of devices) collect(reader, device, found, consumers);
    this.#all = [...found.values()];
    this.consumers = consumers;
  }

  get all(): readonly Departure[] {
    return this.#all;
  }

  /** Adds what is reached through those that go. */
  include(more: readonly Departure[]): void {
    this.#all.push(...more);
  }

  /** What takes `path` with it; undefined for what stays. */
  of(path: string | undefined): Departure | undefined {
    if (path === undefined) return undefined;
    return this.#all.find((each) => path === each.path || path.startsWith(`${each.path}/`));
  }
}

function collect(
  reader: MachineReader,
  device: DeviceState,
  found: Map<string, Departure>,
  consumers: LosingConsumer[],
): void {
  // A device that no driver has takes nothing with it.
  if (device.driver === undefined) return;
  const { name } = device;
  const add = (path: string | undefined, place: string) => {
    if (path === undefined || found.has(path)) return;
    found.set(path, { device: name, path, place });
    for (const each of reader.names(path)) {
      if (/^virtfn\d+$/.test(each)) {
        const target = reader.target(`${path}/${each}`);
        add(target, `${target?.replace(/.*\//, "")}, a virtual function of ${place}`);
      }
      if (each.startsWith("consumer:")) addConsumer(`${path}/${each}`, place);
    }
  };
  const addConsumer = (link: string, place: string) => {
    const consumer = losing(reader, link);
    if (consumer === undefined) return;
    consumers.push({ device: name, ...consumer });
    add(consumer.path, `${consumer.consumer}, which needs ${place}`);
  };
  add(reader.target(device.path) ?? device.path, name);
}

/**
 * When a supplier leaves its driver, the driver core takes their drivers from its consumers first: from those that have one, by
 * links that it keeps track of itself (drivers/base/core.c, device_links_unbind_consumers).
 */
function losing(reader: MachineReader, link: string) {
  const status = reader.text(`${link}/status`);
  if ((status !== "active" && status !== "consumer probing") || reader.text(`${link}/sync_state_only`) === "1")
    return undefined;
  const folder = reader.target(link);
  const path = folder === undefined ? undefined : reader.target(`${folder}/consumer`);
  const driver = path === undefined ? undefined : reader.target(`${path}/driver`);
  if (path === undefined || driver === undefined) return undefined;
  return { path, consumer: path.replace(/.*\//, ""), driver: driver.replace(/.*\//, "") };
}

import { type DriverState, lookUpDeviceState } from "../machine/devices.js";
import type { DeviceState, Machine } from "../machine/machine.js";
import { readAttribute } from "../machine/sysfs.js";
import { type BindingEntry, type BindingRecord, formatRecord, parseRecord } from "./binding-record.js";
import type { RecordStore } from "./record-store.js";

/** What the record says of a device, next to where it is now. */
export interface Remembered {
  readonly entry: BindingEntry;
  /** Undefined for a device that is gone. */
  readonly device: DeviceState | undefined;
  /**
   * `held`: where iospan put it. `back`: where it was before, so the entry has done its work. `between`: on no driver, as
   * an interrupted change leaves it. `elsewhere`: somebody else has moved it.
   */
  readonly place: "held" | "back" | "between" | "elsewhere" | "gone";
}

/** The bindings that iospan made in this boot, kept in a {@link RecordStore}. */
export class Memory {
  readonly #machine: Machine;
  readonly #store: RecordStore;
  #record: BindingRecord;

  /** @throws IospanError `ERR_IOSPAN_INCONSISTENT` for a record that cannot be understood. */
  constructor(machine: Machine, store: RecordStore) {
    this.#machine = machine;
    this.#store = store;
    const bootId = readAttribute(machine, "/proc/sys/kernel/random/boot_id") ?? "";
    this.#record = parseRecord(store.read(), bootId, store.file);
  }

  /** Everything remembered, by device. */
  get all(): readonly Remembered[] {
    return this.#record.entries.map((entry) => this.#locate(entry));
  }

  /** Undefined for a device that iospan did not bind. */
  of(device: string): Remembered | undefined {
    const entry = this.#record.entries.find((each) => each.device === device);
    return entry === undefined ? undefined : this.#locate(entry);
  }

  /** Puts entries in the place of those of the same devices. All or nothing. */
  keep(entries: readonly BindingEntry[]): void {
    this.#replace(
      entries.map(({ device }) => device),
      entries,
    );
  }

  /** Forgets devices. All or nothing. */
  forget(devices: readonly string[]): void {
    if (this.#record.entries.some(({ device }) => devices.includes(device))) this.#replace(devices, []);
  }

  #replace(devices: readonly string[], entries: readonly BindingEntry[]): void {
    const others = this.#record.entries.filter(({ device }) => !devices.includes(device));
    const sorted = [...others, ...entries].sort((a, b) => (a.device < b.device ? -1 : 1));
    const record = { ...this.#record, entries: sorted };
    this.#store.write(formatRecord(record));
    this.#record = record;
  }

  #locate(entry: BindingEntry): Remembered {
    const device = lookUpDeviceState(this.#machine, entry.device);
    if (device === undefined) return { entry, device, place: "gone" };
    if (device.driver === entry.driver) return { entry, device, place: "held" };
    const before = previousState(entry);
    if (device.driver === before.driver && device.driverOverride === before.driverOverride)
      return { entry, device, place: "back" };
    return { entry, device, place: device.driver === undefined ? "between" : "elsewhere" };
  }
}

/** Where a device was before iospan bound it. */
export function previousState({ previousDriver, previousOverride }: BindingEntry): DriverState {
  return { driver: previousDriver ?? undefined, driverOverride: previousOverride ?? undefined };
}

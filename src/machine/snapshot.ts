import { kernelName } from "./device-name.js";
import { findDeviceState, lookUpDeviceState } from "./devices.js";
import { groupDeviceNames } from "./groups.js";
import type { DeviceState, Machine } from "./machine.js";

/**
 * What sysfs says of devices and their groups in the course of one operation: each is read when it is first asked for, and
 * once. It grows old, so the next operation makes a new one.
 */
export class Snapshot {
  readonly machine: Machine;
  readonly #devices = new Map<string, DeviceState | undefined>();
  readonly #groups = new Map<number, readonly DeviceState[]>();

  constructor(machine: Machine) {
    this.machine = machine;
  }

  /**
   * @param name as for `findDevice`.
   * @throws IospanError `ERR_IOSPAN_NO_DEVICE` when there is none, with the names it may have been meant for.
   */
  device(name: string): DeviceState {
    const wanted = kernelName(name);
    const known = this.#devices.get(wanted);
    if (known !== undefined) return known;
    const device = findDeviceState(this.machine, wanted);
    this.#devices.set(wanted, device);
    return device;
  }

  /**
   * The PCI and platform devices of a group.
   * @throws IospanError `ERR_IOSPAN_NO_IOMMU` when there is no such group.
   */
  groupDevices(group: number): readonly DeviceState[] {
    const known = this.#groups.get(group);
    if (known !== undefined) return known;
    const devices = groupDeviceNames(this.machine, group)
      .map((name) => this.#lookUp(name))
      .filter((device) => device !== undefined);
    this.#groups.set(group, devices);
    return devices;
  }

  /** Undefined for a device of a bus that iospan does not know. */
  #lookUp(name: string): DeviceState | undefined {
    if (!this.#devices.has(name)) this.#devices.set(name, lookUpDeviceState(this.machine, name));
    return this.#devices.get(name);
  }
}

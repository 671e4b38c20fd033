import type { KernelLog } from "../kernel-log.js";
import { refusalOf, refuse } from "../refusal.js";
import type { KernelDevice } from "./device.js";
import type { Driver } from "./driver.js";

/** A bus with its devices and drivers (drivers/base/bus.c, dd.c). */
export class Bus {
  readonly name: Driver["bus"];
  readonly devices: readonly KernelDevice[];
  readonly drivers: readonly Driver[];
  readonly #log: KernelLog;

  constructor(name: Driver["bus"], devices: readonly KernelDevice[], drivers: readonly Driver[], log: KernelLog) {
    this.name = name;
    this.devices = devices;
    this.drivers = drivers;
    this.#log = log;
  }

  device(name: string): KernelDevice | undefined {
    return this.devices.find((device) => device.name === name);
  }

  /**
   * Write to `drivers_probe`: the first driver that matches and takes it. That a driver's probe refused is only logged,
   * while a group that is owned makes the write fail, with EINVAL (drivers_probe_store).
   */
  probe(deviceName: string): void {
    const device = this.device(deviceName) ?? refuse("ENODEV");
    if (device.driver !== undefined) return;
    for (const driver of this.drivers) {
      if (!matches(driver, device)) continue;
      if (!this.#prepareDma(driver, device)) refuse("EINVAL");
      if (this.#probe(driver, device) === undefined) return;
    }
  }

  /** Write to a driver's `bind`: the probe's errno is the answer. */
  bind(driver: Driver, deviceName: string): void {
    const device = this.device(deviceName);
    if (device === undefined || !matches(driver, device)) refuse("ENODEV");
    if (device.driver !== undefined) refuse("EBUSY");
    if (!this.#prepareDma(driver, device)) refuse("EBUSY");
    const refusal = this.#probe(driver, device);
    if (refusal !== undefined) throw refusal;
  }

  /** Write to a driver's `unbind`. */
  unbind(driver: Driver, deviceName: string): void {
    const device = this.device(deviceName);
    if (device?.driver === driver) this.#detach(driver, device);
    else refuse("ENODEV");
  }

  /** A write to the `unbind` of its driver by another process, which may wait for those who use the device. */
  async unbindLater(deviceName: string): Promise<void> {
    const device = this.device(deviceName) ?? refuse("ENODEV");
    const { driver } = device;
    await driver?.release?.(device);
    // Somebody else may have waited, too, and was first.
    if (driver !== undefined && device.driver === driver) this.#detach(driver, device);
    else refuse("ENODEV");
  }

  #detach(driver: Driver, device: KernelDevice): void {
    driver.remove(device);
    device.driver = undefined;
    if (!driver.managesDma) device.group?.unuseDefaultDomain();
  }

  /** pci_dma_configure, platform_dma_configure. False: somebody else owns the group's DMA. */
  #prepareDma(driver: Driver, { group }: KernelDevice): boolean {
    return driver.managesDma || refusalOf(() => group?.useDefaultDomain()) === undefined;
  }

  #probe(driver: Driver, device: KernelDevice) {
    device.driver = driver;
    const refusal = refusalOf(() => driver.probe(device));
    if (refusal === undefined) return undefined;
    device.driver = undefined;
    if (!driver.managesDma) device.group?.unuseDefaultDomain();
    this.#log.device(driver.name, device.name, `probe with driver ${driver.name} failed with error -${refusal.errno}`);
    return refusal;
  }
}

function matches(driver: Driver, device: KernelDevice): boolean {
  if (device.driverOverride !== undefined) return device.driverOverride === driver.name;
  return driver.matches(device);
}

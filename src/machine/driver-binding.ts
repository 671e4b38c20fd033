import { IospanError } from "../errors.js";
import { SyscallError } from "../syscalls/syscalls.js";
import { type BindingStep, bindingIneffective, bindingRefused } from "./binding-errors.js";
import { type DriverState, findDeviceState, readDriverState } from "./devices.js";
import { formatHolders, type GroupHolder, groupHolders, ownPid } from "./group-holders.js";
import { requireIommu } from "./iommus.js";
import { type BusType, busTypes, type DeviceState, type Machine } from "./machine.js";
import { requireMachine } from "./require-machine.js";
import { readAttribute } from "./sysfs.js";
import { hasVfioDriver, isDriverLoaded, loadDriverHint, vfioDrivers } from "./vfio-drivers.js";

/** A device on a VFIO driver, and the way back. */
export interface DriverBinding extends Disposable {
  /** The device's kernel name. */
  readonly device: string;
  readonly driver: string;
  /** Undefined when no driver was bound before. */
  readonly previousDriver: string | undefined;
  readonly previousOverride: string | undefined;
  /**
   * Gives the device back to its previous driver, under its previous `driver_override`. All or nothing:
   * when it throws, the device is where it was, and it can be tried again. Once it returned, or where
   * the device had been on the driver already, it does nothing.
   */
  restore(): void;
}

/** How {@link bindToVfio} binds. */
export interface BindOptions {
  /**
   * A driver of VFIO's: `vfio-pci`, `vfio-platform`, or a variant such as `mlx5_vfio_pci`. Default: the first or the second, by
   * the device's bus, unless the device is on some VFIO driver already.
   */
  readonly driver?: string | undefined;
}

/**
 * Binds a device to a VFIO driver. All or nothing: when it throws, the device has its driver and its `driver_override` as before,
 * or the message says that undoing failed too.
 *
 * The present driver lets go at once, whatever it is doing: a disk with mounted file systems is taken away from under them.
 * A device without an IOMMU is refused, unless the kernel is in VFIO's unsafe no-IOMMU mode: then it is bound, for other
 * programs, and no space opens it.
 * @throws IospanError `ERR_IOSPAN_BIND_REFUSED`, `…_NO_PERMISSION`, `…_NO_VFIO` (driver not loaded), `…_NO_IOMMU`, `…_GROUP_BUSY`,
 * `…_NO_DEVICE`, `…_INVALID_ARGUMENT` for a driver that is not VFIO's or is another bus's.
 */
export function bindToVfio(machine: Machine, deviceName: string, options: BindOptions = {}): DriverBinding {
  requireMachine(machine);
  const device = findDeviceState(machine, deviceName);
  const driver = options.driver ?? defaultDriver(device);
  requireVfios(device, driver);
  if (device.driver === driver) return new Binding(machine, device.name, device, device);
  requireLoaded(machine, device, driver);
  requireGroupFor(machine, device);
  const after = { driver, driverOverride: driver };
  change(machine, device, after);
  return new Binding(machine, device.name, device, after);
}

/**
 * Brings a device to a driver, or to none, and to a `driver_override`, from wherever it is: the way back from
 * {@link bindToVfio} for a process that did not bind. All or nothing, like that.
 * @throws IospanError as {@link bindToVfio}, for this driver.
 * @internal
 */
export function restoreDriver(machine: Machine, deviceName: string, to: DriverState): void {
  requireMachine(machine);
  const device = findDeviceState(machine, deviceName);
  if (to.driver !== undefined && to.driver !== device.driver) requireLoaded(machine, device, to.driver);
  change(machine, device, to);
}

/**
 * Takes a device from its driver, clears its `driver_override` and lets the kernel find a driver, as it did when the device
 * appeared. All or nothing.
 * @returns the driver that took it; undefined for none, which is no error.
 * @throws IospanError as {@link bindToVfio}.
 * @internal
 */
export function releaseToKernel(machine: Machine, deviceName: string): string | undefined {
  requireMachine(machine);
  const device = findDeviceState(machine, deviceName);
  refuseWhileHeld(machine, device, { driver: undefined });
  try {
    if (device.driverOverride !== undefined) writeOverride(machine, device, undefined);
    if (device.driver !== undefined) unbind(machine, device, device.driver);
    const doing = `have a driver found for ${device.name}`;
    write(machine, device, `/sys/bus/${device.bus}/drivers_probe`, device.name, { doing });
    const now = readDriverState(machine, device);
    if (now.driverOverride === undefined) return now.driver;
    throw bindingIneffective(device, describe(now), "no override");
  } catch (error) {
    throw undone(machine, device, error);
  }
}

class Binding implements DriverBinding {
  readonly #machine: Machine;
  readonly #before: DriverState;
  readonly device: string;
  readonly driver: string;
  #restored: boolean;

  constructor(machine: Machine, device: string, before: DriverState, after: DriverState) {
    this.#machine = machine;
    this.#before = before;
    this.device = device;
    this.driver = after.driver ?? "";
    this.#restored = before === after;
  }

  get previousDriver(): string | undefined {
    return this.#before.driver;
  }

  get previousOverride(): string | undefined {
    return this.#before.driverOverride;
  }

  restore(): void {
    if (this.#restored) return;
    change(this.#machine, findDeviceState(this.#machine, this.device), this.#before);
    this.#restored = true;
  }

  [Symbol.dispose](): void {
    this.restore();
  }
}

function defaultDriver(device: DeviceState): string {
  return device.driver !== undefined && hasVfioDriver(device) ? device.driver : vfioDrivers[device.bus];
}

/**
 * Every driver of VFIO's has it in its name, and after that the bus, where it has one (drivers/vfio/pci, drivers/vfio/platform).
 * Any other would drive the device itself.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT`
 * @internal
 */
export function requireVfios(device: DeviceState, driver: string): void {
  if (driver === device.driver && hasVfioDriver(device)) return;
  if (typeof driver !== "string" || !driver.includes("vfio"))
    throw notForVfio(device, `"${driver}" is no driver of VFIO's`);
  const bus = busOf(driver);
  if (bus === undefined || bus === device.bus) return;
  throw notForVfio(device, `${driver} is for ${bus} devices, and ${device.name} is a ${device.bus} device`);
}

function busOf(driver: string): BusType | undefined {
  return busTypes.find((bus) => new RegExp(`vfio[-_]${bus}$`).test(driver));
}

function notForVfio({ name, bus, iommu }: DeviceState, message: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", message, {
    device: name,
    iommu: iommu?.name,
    hint: `leave \`driver\` out for ${vfioDrivers[bus]}, or name a variant of it (ls /sys/bus/${bus}/drivers | grep vfio)`,
  });
}

/** Asked before the present driver is disturbed. */
function requireLoaded(machine: Machine, { bus, name }: DeviceState, driver: string): void {
  if (/^\w[\w.+-]*$/.test(driver) && isDriverLoaded(machine, bus, driver)) return;
  throw new IospanError(
    "ERR_IOSPAN_NO_VFIO",
    `cannot bind ${name} to ${driver}: the kernel has no ${bus} driver of that name loaded`,
    {
      device: name,
      hint: loadDriverHint(machine, bus, driver),
    },
  );
}

/**
 * Without an IOMMU, VFIO's drivers take a device only in no-IOMMU mode. A device without a driver is left to them to judge:
 * kernels before 6.15 put it into a group only when its first driver probes it (drivers/acpi/scan.c, acpi_dma_configure_id).
 * @throws IospanError `ERR_IOSPAN_NO_IOMMU`
 * @internal
 */
export function requireGroupFor(machine: Machine, device: DeviceState): void {
  if (device.driver === undefined || device.group !== undefined) return;
  const mode = readAttribute(machine, "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
  if (mode !== "Y") requireIommu(device);
}

/** Brings the device from where it is to `to`; when that fails, back again. */
function change(machine: Machine, device: DeviceState, to: DriverState): void {
  refuseWhileHeld(machine, device, to);
  try {
    settle(machine, device, device, to);
  } catch (error) {
    throw undone(machine, device, error);
  }
}

/** Unbinding a VFIO driver waits, without end, for whoever has the device open: this very process, perhaps. */
function refuseWhileHeld(machine: Machine, device: DeviceState, to: DriverState): void {
  if (device.group === undefined || device.driver === to.driver || !hasVfioDriver(device)) return;
  const holders = groupHolders(machine, device.group, [device]);
  if (holders.length === 0) return;
  const message = `${device.name} cannot leave ${device.driver}: IOMMU group ${device.group} is open in process ${formatHolders(holders)}`;
  throw new IospanError("ERR_IOSPAN_GROUP_BUSY", message, {
    device: device.name,
    iommu: device.iommu?.name,
    hint: holdersHint(machine, holders),
  });
}

/** Who holds the group in this very process should not be told to kill it. */
function holdersHint(machine: Machine, holders: readonly GroupHolder[]): string {
  const own = ownPid(machine);
  const others = holders.filter(({ pid }) => pid !== own);
  if (others.length < holders.length) {
    return "this very process has it open: close the space first (declare `await using space` after `using binding`)";
  }
  return `close the address space or end the process, then try again: kill ${others.map(({ pid }) => pid).join(" ")}`;
}

function undone(machine: Machine, device: DeviceState, failure: unknown): unknown {
  try {
    settle(machine, device, readDriverState(machine, device), device);
  } catch (error) {
    const outcome = `undoing it failed too, so look at ls -l ${device.path}/driver: ${text(error)}`;
    return withOutcome(failure, outcome, new AggregateError([failure, error]));
  }
  return withOutcome(failure, `it has ${describe(device)}, as before`);
}

/** Unexpected errors pass as they are: no words of ours would say more. */
function withOutcome(failure: unknown, outcome: string, cause?: AggregateError): unknown {
  if (!(failure instanceof IospanError)) return cause ?? failure;
  const { code, message, syscall, errno, device, iommu, hint } = failure;
  return new IospanError(code, `${message}; ${outcome}`, {
    syscall,
    errno,
    device,
    iommu,
    hint,
    cause: cause ?? failure.cause,
  });
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function describe({ driver, driverOverride }: DriverState): string {
  return `${driver === undefined ? "no driver" : `driver ${driver}`} and ${driverOverride === undefined ? "no override" : `override ${driverOverride}`}`;
}

/**
 * Brings the device to `to` from any state, one that a failure left among them, and verifies that it got there.
 * So undoing is the same as doing.
 */
function settle(machine: Machine, device: DeviceState, from: DriverState, to: DriverState): void {
  let now = from.driver === to.driver ? from : move(machine, device, from, to);
  if (now.driverOverride !== to.driverOverride) {
    writeOverride(machine, device, to.driverOverride);
    now = readDriverState(machine, device);
  }
  if (now.driver === to.driver && now.driverOverride === to.driverOverride) return;
  throw bindingIneffective(device, describe(now), describe(to));
}

/** Changes the driver, and the override where it stands in the way. @returns what became of both. */
function move(machine: Machine, device: DeviceState, from: DriverState, to: DriverState): DriverState {
  // An override that names another driver would keep `to.driver` from matching.
  const matching = to.driverOverride === to.driver || to.driver === undefined ? to.driverOverride : undefined;
  if (from.driverOverride !== matching) writeOverride(machine, device, matching);
  if (from.driver !== undefined) unbind(machine, device, from.driver);
  return to.driver === undefined ? readDriverState(machine, device) : probe(machine, device, to.driver);
}

/**
 * `drivers_probe` says nothing when the driver's own probe refuses; the driver's `bind`, asked next, hands its answer on.
 * @returns what became of driver and override.
 */
function probe(machine: Machine, device: DeviceState, driver: string): DriverState {
  const { name, bus } = device;
  const step = { doing: `bind ${name} to ${driver}`, probing: driver };
  write(machine, device, `/sys/bus/${bus}/drivers_probe`, name, step);
  const now = readDriverState(machine, device);
  if (now.driver === driver) return now;
  // Several drivers can match one device, and the kernel took the first.
  if (now.driver !== undefined) unbind(machine, device, now.driver);
  write(machine, device, `/sys/bus/${bus}/drivers/${driver}/bind`, name, step);
  return readDriverState(machine, device);
}

function unbind(machine: Machine, device: DeviceState, driver: string): void {
  const step = { doing: `unbind ${device.name} from ${driver}` };
  write(machine, device, `/sys/bus/${device.bus}/drivers/${driver}/unbind`, device.name, step);
}

/** A line end alone clears it. */
function writeOverride(machine: Machine, device: DeviceState, override: string | undefined): void {
  const doing = `${override === undefined ? "clear" : "set"} the driver_override of ${device.name}`;
  write(machine, device, `${device.path}/driver_override`, override ?? "\n", { doing });
}

function write(machine: Machine, device: DeviceState, path: string, value: string, step: BindingStep): void {
  try {
    machine.syscalls.writeFile(path, value);
  } catch (error) {
    throw error instanceof SyscallError ? bindingRefused(machine, device, step, error) : error;
  }
}

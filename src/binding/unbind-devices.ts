import { IospanError } from "../errors.js";
import { kernelName } from "../machine/device-name.js";
import { type DriverState, findDeviceState, lookUpDeviceState } from "../machine/devices.js";
import { releaseToKernel, restoreDriver } from "../machine/driver-binding.js";
import { groupDevices } from "../machine/groups.js";
import type { DeviceState, Machine } from "../machine/machine.js";
import { hasVfioDriver, isDriverLoaded, loadDriverHint } from "../machine/vfio-drivers.js";
import type { BindingWorld, Refusal } from "./binding-world.js";
import { memoryStore } from "./record-store.js";
import { type RehearsedWrite, rehearse } from "./rehearsal.js";
import { Memory, previousState, type Remembered } from "./remembered.js";
import { undoChanges } from "./undo-changes.js";

/** What is to leave VFIO. */
export interface UnbindRequest {
  readonly devices: readonly string[];
  /** All that iospan bound. */
  readonly all?: boolean | undefined;
  /** The other devices of their groups that are on VFIO, too. */
  readonly group?: boolean | undefined;
  /** Where they go, in the place of where they were. */
  readonly driver?: string | undefined;
  /** Also devices that somebody else has moved. */
  readonly force?: boolean | undefined;
}

/** Every {@link PlannedReturn.way}. */
export const returnWays = ["restored", "released", "chosen", "nothing"] as const;

/** A device, and the way it goes. */
export interface PlannedReturn {
  readonly name: string;
  /** Undefined for a device that is gone. */
  readonly device: DeviceState | undefined;
  /** To where it was, to whichever driver the kernel finds, to the driver that was asked for; or it stays. */
  readonly way: (typeof returnWays)[number];
  /** Where it goes; undefined where the kernel chooses. */
  readonly to: DriverState | undefined;
  /** In words: why it stays. */
  readonly remark: string | undefined;
}

/** What became of a request. */
export interface UnbindOutcome {
  /** In each, the driver that the device has now. */
  readonly returns: readonly (PlannedReturn & { readonly driver: string | undefined })[];
  readonly refusals: readonly Refusal[];
  /** False where there are refusals: then nothing was changed. */
  readonly done: boolean;
}

/**
 * Gives devices back, all of them or none: those that iospan bound to exactly the driver and `driver_override` that they had,
 * others to the driver that the kernel finds for them.
 * @throws IospanError as `bindToVfio`, after which all devices are as before, or the message says which are not.
 */
export function unbindDevices(world: BindingWorld, request: UnbindRequest): UnbindOutcome {
  using _lock = world.store.lock();
  return unbind(world, request);
}

/** Does the same on a machine that only imagines the changes. */
export function rehearseUnbinding(
  { machine, store }: BindingWorld,
  request: UnbindRequest,
): UnbindOutcome & { readonly writes: readonly RehearsedWrite[] } {
  const remembered = new Memory(machine, store).all.map(({ entry }) => entry);
  const expected = new Map(remembered.map(({ device, previousDriver }) => [device, previousDriver ?? ""] as const));
  const known = new Map([...expected].filter(([, driver]) => driver !== ""));
  const rehearsal = rehearse(machine, { expected: known });
  const world = { machine: rehearsal.machine, store: memoryStore(store.file, store.read()) };
  return { ...unbind(world, request), writes: rehearsal.writes };
}

function unbind({ machine, store }: BindingWorld, request: UnbindRequest): UnbindOutcome {
  const memory = new Memory(machine, store);
  const names = unboundNames(machine, memory, request);
  const judged = names.map((name) => judge(machine, memory.of(name), name, request));
  const refusals = judged.filter((each) => "message" in each);
  const returns = judged.filter((each) => "way" in each);
  const staying = returns.map((each) => ({ ...each, driver: each.device?.driver }));
  if (refusals.length > 0) return { returns: staying, refusals, done: false };
  carryOut(machine, memory, returns);
  const after = returns.map((each) => ({ ...each, driver: lookUpDeviceState(machine, each.name)?.driver }));
  return { returns: after, refusals, done: true };
}

function unboundNames(machine: Machine, memory: Memory, { devices, all, group }: UnbindRequest): readonly string[] {
  const remembered = all === true ? memory.all.map(({ entry }) => entry.device) : [];
  const named = devices.map((name) => {
    const known = memory.of(kernelName(name));
    return known?.place === "gone" ? known.entry.device : findDeviceState(machine, name).name;
  });
  const groups = new Set(group === true ? named.flatMap((name) => lookUpDeviceState(machine, name)?.group ?? []) : []);
  const members = [...groups].flatMap((number) => groupDevices(machine, number)).filter(hasVfioDriver);
  return [...new Set([...named, ...members.map(({ name }) => name), ...remembered])];
}

function judge(
  machine: Machine,
  known: Remembered | undefined,
  name: string,
  request: UnbindRequest,
): PlannedReturn | Refusal {
  const device = known === undefined ? findDeviceState(machine, name) : known.device;
  if (device === undefined) return stays(name, device, "is gone: it is forgotten");
  if (request.driver !== undefined) return chosen(machine, device, request.driver);
  switch (known?.place) {
    case "held":
    case "between":
      return { name, device, way: "restored", to: previousState(known.entry), remark: undefined };
    case "elsewhere":
      return request.force === true
        ? { name, device, way: "restored", to: previousState(known.entry), remark: undefined }
        : movedByOthers(device, known);
    default:
      return isVfios(device)
        ? { name, device, way: "released", to: undefined, remark: undefined }
        : stays(name, device, `is not on VFIO: it has ${device.driver ?? "no driver"}`);
  }
}

/** On a driver of VFIO's, or kept for one. */
function isVfios(device: DeviceState): boolean {
  return hasVfioDriver(device) || (device.driver === undefined && device.driverOverride?.includes("vfio") === true);
}

function stays(name: string, device: DeviceState | undefined, remark: string): PlannedReturn {
  return { name, device, way: "nothing", to: undefined, remark };
}

function chosen(machine: Machine, device: DeviceState, driver: string): PlannedReturn | Refusal {
  const { name, bus } = device;
  if (device.driver === driver) return stays(name, device, `is on ${driver} already`);
  if (device.driver !== undefined && !hasVfioDriver(device)) {
    const message = `${name} is on ${device.driver}, and unbind takes devices from VFIO only`;
    return { device: name, message, hint: `iospan bind ${name} takes it from ${device.driver}` };
  }
  if (!/^\w[\w.+-]*$/.test(driver) || !isDriverLoaded(machine, bus, driver)) {
    const message = `cannot bind ${name} to ${driver}: the kernel has no ${bus} driver of that name loaded`;
    return { device: name, message, hint: loadDriverHint(machine, bus, driver) };
  }
  return { name, device, way: "chosen", to: { driver, driverOverride: undefined }, remark: undefined };
}

function movedByOthers({ name, driver }: DeviceState, { entry }: Remembered): Refusal {
  return {
    device: name,
    message: `${name} is on ${driver} now, where iospan had put it on ${entry.driver}: somebody else has moved it`,
    hint: `leave it there, or bring it back to ${entry.previousDriver ?? "no driver"} all the same: --force`,
  };
}

function carryOut(machine: Machine, memory: Memory, returns: readonly PlannedReturn[]): void {
  const changed: DeviceState[] = [];
  try {
    for (const { name, device, way, to } of returns) {
      if (way === "nothing" || device === undefined) continue;
      if (to === undefined) releaseToKernel(machine, name);
      else restoreDriver(machine, name, to);
      changed.push(device);
    }
    memory.forget(returns.map(({ name }) => name));
  } catch (error) {
    throw undoChanges(machine, changed, error);
  }
}

/** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a request that names nothing. */
export function requireNamed({ devices, all }: UnbindRequest): void {
  if (devices.length > 0 || all === true) return;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "no device is named", {
    hint: "name devices, or give back all that iospan bound: iospan unbind --all; iospan bind --status shows them",
  });
}

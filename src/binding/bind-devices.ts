import { bindToVfio } from "../machine/driver-binding.js";
import type { DeviceState } from "../machine/machine.js";
import type { BindingEntry } from "./binding-record.js";
import type { BindingWorld } from "./binding-world.js";
import { type BindingPlan, type BindRequest, type PlannedDevice, planBinding } from "./plan-binding.js";
import { memoryStore } from "./record-store.js";
import { type RehearsedWrite, rehearse } from "./rehearsal.js";
import { Memory, type Remembered } from "./remembered.js";
import { isAt, undoChanges } from "./undo-changes.js";

/** What became of a request. */
export interface BindOutcome {
  readonly plan: BindingPlan;
  /** False where the plan has refusals: then nothing was changed. */
  readonly done: boolean;
}

/** What would become of a request. */
export interface BindRehearsal extends BindOutcome {
  /** Drivers that would be loaded first. */
  readonly loads: readonly string[];
  readonly writes: readonly RehearsedWrite[];
}

/**
 * Binds devices to VFIO, all of them or none, and remembers where they were. Where something speaks against it nothing is
 * done, and the plan says what.
 * @throws IospanError as `bindToVfio`, after which all devices have their drivers as before, or the message says which
 * have not; `ERR_IOSPAN_BUSY` while another iospan binds; `ERR_IOSPAN_INCONSISTENT` for a record that cannot be read.
 */
export function bindDevices(world: BindingWorld, request: BindRequest): BindOutcome {
  using _lock = world.store.lock();
  const memory = new Memory(world.machine, world.store);
  const plan = planBinding(world, request);
  if (plan.refusals.length > 0) return { plan, done: false };
  for (const driver of new Set(plan.missing.map(({ driver }) => driver))) world.load?.(driver);
  carryOut(world, memory, plan.devices);
  return { plan, done: true };
}

/** Does the same on a machine that only imagines the changes. Loads nothing and remembers nothing. */
export function rehearseBinding(world: BindingWorld, request: BindRequest): BindRehearsal {
  const plan = planBinding(world, request);
  const loads = [...new Set(plan.missing.map(({ driver }) => driver))];
  if (plan.refusals.length > 0) return { plan, done: false, loads: [], writes: [] };
  const loaded = plan.missing.map(({ device, driver }) => ({ bus: device.bus, driver }));
  const { machine, writes } = rehearse(world.machine, { loaded });
  const store = memoryStore(world.store.file, world.store.read());
  carryOut({ machine, store }, new Memory(machine, store), plan.devices);
  return { plan, done: true, loads, writes };
}

/** The record is written first: whenever the process ends, it says where each device came from. */
function carryOut({ machine }: BindingWorld, memory: Memory, devices: readonly PlannedDevice[]): void {
  const moving = devices.filter(({ already }) => !already);
  if (moving.length === 0) return;
  const known = moving.map(({ device }) => memory.of(device.name));
  const entries = moving.map((each, index) => entryOf(each, known[index]));
  memory.keep(entries);
  const begun: DeviceState[] = [];
  try {
    for (const { device, driver } of moving) {
      bindToVfio(machine, device.name, { driver });
      begun.push(device);
    }
    memory.keep(entries.map((entry) => ({ ...entry, state: "bound" })));
  } catch (error) {
    const failure = undoChanges(machine, begun, error);
    const back = moving.filter(({ device }) => isAt(machine, device)).map(({ device }) => device.name);
    reinstate(memory, back, known);
    throw failure;
  }
}

/** A device that iospan has on VFIO already goes back to where it was before that. */
function entryOf({ device, driver }: PlannedDevice, known: Remembered | undefined): BindingEntry {
  const { name, bus, driver: previousDriver, driverOverride } = device;
  const made = known?.place === "held" || known?.place === "between" ? known.entry : undefined;
  return {
    device: name,
    bus,
    driver,
    previousDriver: made === undefined ? (previousDriver ?? null) : made.previousDriver,
    previousOverride: made === undefined ? (driverOverride ?? null) : made.previousOverride,
    state: "intended",
  };
}

/** Where even this fails, the entries that stay say `intended`, of devices that are where they were: nobody is misled. */
function reinstate(memory: Memory, back: readonly string[], known: readonly (Remembered | undefined)[]): void {
  const entries = known.flatMap((each) => (each !== undefined && back.includes(each.entry.device) ? [each.entry] : []));
  try {
    memory.forget(back);
    if (entries.length > 0) memory.keep(entries);
  } catch {
    // What is told is why the binding failed.
  }
}

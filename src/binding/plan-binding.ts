import { IospanError } from "../errors.js";
import { findDeviceState } from "../machine/devices.js";
import { requireGroupFor, requireVfios } from "../machine/driver-binding.js";
import type { DeviceState, Machine } from "../machine/machine.js";
import { hasVfioDriver, isDriverLoaded, loadDriverHint, spoilsGroup, vfioDrivers } from "../machine/vfio-drivers.js";
import type { BindingWorld, Refusal } from "./binding-world.js";
import { groupMates, isBridge } from "./group-mates.js";
import { findLifelines, type LifelineReport } from "./lifelines/find-lifelines.js";

/** What is to be bound. */
export interface BindRequest {
  /** As their users write them. */
  readonly devices: readonly string[];
  /** A variant of VFIO's driver, for the named devices. */
  readonly driver?: string | undefined;
  /** The other devices of their groups, too. */
  readonly group?: boolean | undefined;
  /** Also what cuts the machine off. */
  readonly force?: boolean | undefined;
}

/** A device, and where it is to go. */
export interface PlannedDevice {
  readonly device: DeviceState;
  readonly driver: string;
  /** It is there already. */
  readonly already: boolean;
}

/** What a request comes to, before anything is changed. */
export interface BindingPlan extends LifelineReport {
  readonly devices: readonly PlannedDevice[];
  /** Bridges of their groups on drivers that do no DMA, which stay where they are and do no harm there. */
  readonly leftAlone: readonly DeviceState[];
  /** Devices of their groups that are on drivers of their own: VFIO hands the group out only when they are taken, too. */
  readonly companions: readonly DeviceState[];
  /** Those of the companions that are bridges, which VFIO does not take: their drivers have to leave them. */
  readonly immovable: readonly DeviceState[];
  /**
   * Those whose group was wanted and is not known: before Linux 6.15 a device joins one when its first driver probes it, and so
   * do its companions, each for itself (drivers/acpi/scan.c, acpi_dma_configure_id).
   */
  readonly ungrouped: readonly DeviceState[];
  /** Drivers that are not loaded. */
  readonly missing: readonly Pick<PlannedDevice, "device" | "driver">[];
  /** Why nothing is done; empty where it can be. */
  readonly refusals: readonly Refusal[];
}

/**
 * Finds out what binding devices would come to. Changes nothing.
 * @throws IospanError `ERR_IOSPAN_NO_DEVICE`, `ERR_IOSPAN_INVALID_ARGUMENT` for what is no device's name.
 */
export function planBinding(world: BindingWorld, request: BindRequest): BindingPlan {
  const { machine, sshConnection } = world;
  const named = unique(request.devices.map((name) => findDeviceState(machine, name)));
  for (const device of named) requireFitting(device, request.driver);
  const { takable, harmless, immovable } = groupMates(machine, named);
  const taken = request.group === true ? [...named, ...takable] : named;
  const devices = taken.map((device) => planned(device, named.includes(device) ? request.driver : undefined));
  const moving = devices.filter(({ already }) => !already);
  const report = findLifelines(
    machine,
    moving.map(({ device }) => device),
    { sshConnection },
  );
  const missing = moving.filter(({ device, driver }) => !isDriverLoaded(machine, device.bus, driver));
  return {
    ...report,
    devices,
    leftAlone: harmless.filter(({ driver }) => driver !== undefined),
    companions: [...(request.group === true ? [] : takable.filter(spoilsGroup)), ...immovable],
    immovable,
    ungrouped: request.group === true ? named.filter(({ group }) => group === undefined) : [],
    missing,
    refusals: [
      ...moving.flatMap(({ device }) => bridgeRefusal(machine, device)),
      ...moving.flatMap(({ device }) => untranslatedRefusal(machine, device)),
      ...(world.load === undefined ? missingRefusals(machine, missing) : []),
      ...(request.force === true ? [] : lifelineRefusals(report)),
    ],
  };
}

/** Asked before anything is loaded by that name. */
function requireFitting(device: DeviceState, driver: string | undefined): void {
  if (driver === undefined) return;
  requireVfios(device, driver);
  if (/^\w[\w.+-]*$/.test(driver)) return;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${JSON.stringify(driver)} is not the name of a driver`, {
    device: device.name,
    hint: `name it as the kernel does: ls /sys/bus/${device.bus}/drivers | grep vfio`,
  });
}

function unique(devices: readonly DeviceState[]): readonly DeviceState[] {
  return [...new Map(devices.map((device) => [`${device.bus} ${device.name}`, device])).values()];
}

function planned(device: DeviceState, wanted: string | undefined): PlannedDevice {
  const stays = wanted === undefined && hasVfioDriver(device) ? device.driver : undefined;
  const driver = wanted ?? stays ?? vfioDrivers[device.bus];
  return { device, driver, already: device.driver === driver };
}

function bridgeRefusal(machine: Machine, device: DeviceState): readonly Refusal[] {
  if (!isBridge(machine, device)) return [];
  return [
    {
      device: device.name,
      message: `${device.name} is a bridge, and vfio-pci takes end points only`,
      hint: "leave it where it is: bridges on pcieport do not keep VFIO from their group",
    },
  ];
}

function untranslatedRefusal(machine: Machine, device: DeviceState): readonly Refusal[] {
  try {
    requireGroupFor(machine, device);
    return [];
  } catch (error) {
    if (!(error instanceof IospanError) || error.code !== "ERR_IOSPAN_NO_IOMMU") throw error;
    return [{ device: device.name, message: error.message, hint: error.hint }];
  }
}

function missingRefusals(machine: Machine, missing: BindingPlan["missing"]): readonly Refusal[] {
  return missing.map(({ device: { name, bus }, driver }) => ({
    device: name,
    message: `cannot bind ${name} to ${driver}: the kernel has no ${bus} driver of that name loaded`,
    hint: `${loadDriverHint(machine, bus, driver)}, or let iospan do it: --load`,
  }));
}

function lifelineRefusals({ lifelines }: LifelineReport): readonly Refusal[] {
  return lifelines
    .filter(({ cuts }) => cuts)
    .map(({ device, message }) => ({
      device,
      message,
      hint: "take it out of use first, or cut it off all the same: --force",
    }));
}

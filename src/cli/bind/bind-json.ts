import type { Lifeline } from "../../binding/lifelines/lifeline.js";
import type { DeviceState } from "../../machine/machine.js";
import type { BindResult } from "./bind-result.js";
import { VERSION } from "./output.js";

/** What `iospan bind` came to, for programs. */
export function bindJson({ plan, done, dryRun, commands, files, written }: BindResult) {
  const { devices, leftAlone, companions, refusals, lifelines, unread } = plan;
  return {
    version: VERSION,
    done: done && !dryRun,
    dryRun,
    devices: devices.map(({ device, driver, already }) => ({
      ...deviceJson(device),
      driver,
      already,
      previousDriver: device.driver ?? null,
      previousOverride: device.driverOverride ?? null,
    })),
    leftAlone: leftAlone.map(driverJson),
    companions: companions.map(driverJson),
    refusals: refusals.map(({ device, message, hint }) => ({ device, message, hint })),
    lifelines: lifelines.map(lifelineJson),
    unread,
    commands,
    persist: files.map(({ path, text }) => ({ path, text, written })),
  };
}

/** What identifies a device. */
export function deviceJson({ name, bus, group, iommu }: DeviceState) {
  return { name, bus, group: group ?? null, iommu: iommu?.name ?? null };
}

function driverJson(device: DeviceState) {
  return { ...deviceJson(device), driver: device.driver ?? null };
}

function lifelineJson({ kind, device, cuts, message }: Lifeline) {
  return { kind, device, cuts, message };
}

import type { BusType } from "../machine/machine.js";
import { bindCommands, vfioDrivers } from "../machine/vfio-drivers.js";
import type { TopologyDevice } from "../topology/topology.js";
import type { Companion } from "./companions.js";
import type { PlanStep } from "./plan.js";
import type { Situation } from "./situation.js";
import type { Subject } from "./subject.js";

/** The device goes to VFIO. */
export function bindStep({ device, isForFunctions }: Subject): PlanStep {
  if (isForFunctions) {
    const text = `bind the functions behind ${device.name} to vfio-pci, with iospan bind; lspci -D lists them`;
    return { id: "bind", text, commands: [], device: device.name };
  }
  const target = vfioDrivers[device.bus as BusType];
  const from = typeof device.driver === "string" ? `, which is on ${device.driver}` : "";
  const text = `bind ${device.name}${from}, to ${target}; or, with a way back: iospan bind ${device.name}`;
  return { id: "bind", text, commands: commandsFor(device), device: device.name };
}

/** The companion goes out of the way. */
export function companionStep({ device, name, group, driver }: Companion, { index }: Situation): PlanStep {
  const text = `${name} shares group ${group}, and is on ${driver ?? "some driver"}`;
  if (device.bus === "pci" && !index.isBridge(device)) {
    const advice = `${text}: bind it to vfio-pci as well, or to nothing`;
    return { id: "bind-companion", text: advice, commands: commandsFor(device), device: name };
  }
  const command = `echo ${name} > /sys/bus/${device.bus}/devices/${name}/driver/unbind`;
  return { id: "bind-companion", text: `${text}: take it from there`, commands: [command], device: name };
}

/** Of a device that only firmware tells of, what follows from its name. */
function commandsFor({ name, bus, driver, paths }: TopologyDevice): readonly string[] {
  const path = paths.sysfs ?? `/sys/bus/${bus}/devices/${name}`;
  const state = { name, bus: bus as BusType, path, driver: driver ?? undefined, group: undefined, iommu: undefined };
  return bindCommands(state).split("; ");
}

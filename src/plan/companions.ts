import { leavesGroup } from "../machine/vfio-drivers.js";
import type { TopologyDevice } from "../topology/topology.js";
import type { PlannedCompanion } from "./plan.js";
import type { Situation } from "./situation.js";
import { isOnVfio } from "./survey-index.js";

/** A device that shares the group of one that was named, and itself was not. */
export interface Companion extends PlannedCompanion {
  readonly device: TopologyDevice;
}

/** The other devices of the devices' groups, by group and name. */
export function companionsOf({ index, subjects }: Situation): readonly Companion[] {
  const named = new Set(subjects.map(({ device }) => device.path));
  const groups = new Set(subjects.flatMap(({ device }) => (typeof device.group === "number" ? [device.group] : [])));
  return [...groups]
    .sort((a, b) => a - b)
    .flatMap((group) =>
      index
        .members(group)
        .filter(({ path }) => !named.has(path))
        .map((device) => companionOf(device, group))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
    );
}

function companionOf(device: TopologyDevice, group: number): Companion {
  const { name, driver } = device;
  // A driver that hands the device to user space leaves the group to VFIO as well.
  const isHarmless = driver === null || (driver !== undefined && leavesGroup(driver)) || isOnVfio(device);
  return { name, group, driver, isHarmless, device };
}

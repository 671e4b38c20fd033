import type { Judgement } from "./judgement.js";
import type { PlannedDevice } from "./plan.js";
import type { Subject } from "./subject.js";

/** What a plan tells of a device. */
export function plannedDevice({ asked, device, iommus }: Subject, { verdict, reason }: Judgement): PlannedDevice {
  const { path, name, bus, driver, group } = device;
  return { asked, path, name, bus, driver, group, iommus: iommus.map((each) => each.name), verdict, reason };
}

import { type BusType, busTypes, type DeviceState } from "../machine/machine.js";
import { hasVfioDriver } from "../machine/vfio-drivers.js";
import type { DeviceFacts, Survey } from "../survey/survey.js";
import type { TopologyDevice, TopologyIommu } from "../topology/topology.js";
import type { Patient } from "./check.js";

/** What sysfs says of the device beyond the topology; undefined where no kernel was asked. */
export function factsOf({ kernel }: Survey, device: TopologyDevice): DeviceFacts | undefined {
  return kernel?.devices.get(device.path);
}

/** The device as `machine/` knows devices, whose helpers say how one is bound; undefined for a bus that VFIO has no driver of. */
export function stateOf(survey: Survey, device: TopologyDevice): (DeviceState & { readonly bus: BusType }) | undefined {
  const bus = busTypes.find((each) => each === device.bus);
  if (bus === undefined) return undefined;
  const { driverOverride, vfioDevice, noiommu } = factsOf(survey, device) ?? {};
  return {
    name: device.name,
    bus,
    path: `/sys/bus/${bus}/devices/${device.name}`,
    driver: device.driver ?? undefined,
    group: device.group ?? undefined,
    iommu: undefined,
    driverOverride,
    vfioDevice,
    noiommu,
  };
}

/** Whether the device is on a driver that hands it to user space. */
export function isOnVfio(survey: Survey, device: TopologyDevice): boolean {
  const state = stateOf(survey, device);
  return state !== undefined && hasVfioDriver(state);
}

/** A PCI bridge: VFIO hands out what is behind it. */
export function isBridge({ pci }: TopologyDevice): boolean {
  return pci?.class !== undefined && pci.class >>> 8 === 0x0604;
}

/** The IOMMUs that translate for the device: the kernel's word counts, else firmware's. */
export function iommusOf({ topology }: Survey, { links }: TopologyDevice): readonly TopologyIommu[] {
  const fromKernel = links.filter(({ via }) => via === "sysfs");
  const counting =
    fromKernel.length > 0 ? fromKernel : links.filter(({ used, via }) => used === true && via !== "iommu-map");
  const paths = new Set(counting.map(({ iommu }) => iommu));
  return topology.iommus.filter(({ path }) => paths.has(path));
}

/** The IOMMUs of all examined devices, each once. */
export function examinedIommus({ survey, devices }: Patient): readonly TopologyIommu[] {
  return [...new Set(devices.flatMap((device) => iommusOf(survey, device)))];
}

/** How many containers the strategy `mirrored` takes: one for each IOMMU, and one at least. */
export function containerCount(patient: Patient): number {
  return Math.max(1, examinedIommus(patient).length);
}

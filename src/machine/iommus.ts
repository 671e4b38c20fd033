import { IospanError } from "../errors.js";
import { groupNode } from "./groups.js";
import type { DeviceState, Iommu, Machine } from "./machine.js";
import { readNames } from "./sysfs.js";

/** A device whose DMA an IOMMU translates. */
export interface TranslatedDevice extends DeviceState {
  readonly group: number;
}

/** What makes a kernel use the IOMMUs a machine has. */
export const switchIommuOnHint: string =
  "switch the IOMMU on in the firmware setup (VT-d, AMD-Vi, SMMU) and on the kernel command line (intel_iommu=on; " +
  "no iommu=off; iommu.passthrough=0), then look in /sys/class/iommu";

/** The same for who asks about one device. */
export const enableIommuHint: string = `${switchIommuOnHint}; or no IOMMU sits in front of this device`;

/** The IOMMUs the kernel drives, by name. */
export function listIommus(machine: Machine): readonly Iommu[] {
  return readNames(machine, "/sys/class/iommu").map((name) => ({ name }));
}

/**
 * Guarantees that an IOMMU translates the device's DMA.
 * @throws IospanError `ERR_IOSPAN_NO_IOMMU` for a device without a group, or one VFIO hands out without translation.
 */
export function requireIommu(device: DeviceState): TranslatedDevice {
  const { name, group, noiommu = false } = device;
  if (group === undefined) {
    throw new IospanError("ERR_IOSPAN_NO_IOMMU", `${name} is in no IOMMU group: no IOMMU translates its DMA`, {
      device: name,
      hint: enableIommuHint,
    });
  }
  if (noiommu) {
    const node = groupNode(group, { noiommu });
    throw new IospanError(
      "ERR_IOSPAN_NO_IOMMU",
      `${name} has no IOMMU, VFIO hands it out untranslated (${node}): its DMA goes to physical addresses wherever they lead, ` +
        "so nothing can be kept from it, nor mapped at an IOVA",
      {
        device: name,
        hint:
          `${enableIommuHint}; and switch VFIO's unsafe mode off: ` +
          "echo N > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
      },
    );
  }
  return { ...device, group };
}

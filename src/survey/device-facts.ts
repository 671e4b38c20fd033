import type { OptionalFiles } from "../machine/optional-files.js";
import type { TopologyDevice } from "../topology/topology.js";
import { readDriverOverride } from "./devices-of-interest.js";
import type { DeviceFacts } from "./survey.js";

/** What sysfs says of a device. */
export function readDeviceFacts(files: OptionalFiles, { bus, paths }: TopologyDevice): DeviceFacts {
  const path = paths.sysfs ?? "";
  // What is not listed is not asked for: refusals cost more than the list.
  const names = files.names(path) ?? [];
  return {
    driverOverride: readDriverOverride(files, path),
    vfioDevice: names.includes("vfio-dev") ? files.names(`${path}/vfio-dev`)?.[0] : undefined,
    resetMethods: bus === "pci" ? readResetMethods(files, path, names) : undefined,
    noiommu: isNoiommu(files, path, names),
  };
}

/** Both files are there only where there is a method (drivers/pci/pci-sysfs.c); `reset` alone before Linux 5.15. */
function readResetMethods(files: OptionalFiles, path: string, names: readonly string[]): string | undefined {
  if (names.includes("reset_method")) return files.text(`${path}/reset_method`)?.trim();
  return names.includes("reset") || names.length === 0 ? undefined : "";
}

/** VFIO makes such groups for devices that have no IOMMU (drivers/vfio/group.c, vfio_noiommu_group_alloc). */
function isNoiommu(files: OptionalFiles, path: string, names: readonly string[]): boolean {
  if (names.includes("iommu") || !names.includes("iommu_group")) return false;
  return files.text(`${path}/iommu_group/name`) === "vfio-noiommu";
}

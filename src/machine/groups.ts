import { IospanError } from "../errors.js";
import { lookUpDevice } from "./devices.js";
import type { Machine, MachineDevice, ReservedRegion } from "./machine.js";
import { hasDirectory, listNames, readAttribute, type SysfsSource } from "./sysfs.js";

/**
 * The PCI and platform devices that the IOMMU cannot tell apart and that VFIO therefore hands out together.
 * @throws IospanError `ERR_IOSPAN_NO_IOMMU` when there is no such group.
 */
export function groupDevices(machine: Machine, group: number): readonly MachineDevice[] {
  return groupDeviceNames(machine, group)
    .map((name) => lookUpDevice(machine, name))
    .filter((device) => device !== undefined);
}

/**
 * The names of the devices in the group, of whichever bus.
 * @throws IospanError `ERR_IOSPAN_NO_IOMMU` when there is no such group.
 * @internal
 */
export function groupDeviceNames(machine: Machine, group: number): readonly string[] {
  const names = listNames(machine, `${groupPath(group)}/devices`);
  if (names === undefined) throw noSuchGroup(group);
  return names;
}

/**
 * The address ranges that the group's devices must not be given mappings in.
 * @throws IospanError `ERR_IOSPAN_NO_IOMMU` when there is no such group.
 */
export function reservedRegions(machine: SysfsSource, group: number): readonly ReservedRegion[] {
  const text = readAttribute(machine, `${groupPath(group)}/reserved_regions`);
  if (text === undefined && !hasDirectory(machine, groupPath(group))) throw noSuchGroup(group);
  return (text ?? "")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => parseRegion(group, line));
}

/** The file that opens a group: `/dev/vfio/7`, or `/dev/vfio/noiommu-7` for a device without an IOMMU. */
export function groupNode(group: number, { noiommu = false }: { readonly noiommu?: boolean } = {}): string {
  return `/dev/vfio/${noiommu ? "noiommu-" : ""}${group}`;
}

function groupPath(group: number): string {
  return `/sys/kernel/iommu_groups/${group}`;
}

function noSuchGroup(group: number): IospanError {
  return new IospanError("ERR_IOSPAN_NO_IOMMU", `there is no IOMMU group ${group}`, {
    hint: "list the groups: ls /sys/kernel/iommu_groups",
  });
}

/** `0x0000000008000000 0x00000000080fffff msi` */
function parseRegion(group: number, line: string): ReservedRegion {
  const fields = /^(0x[0-9a-f]+) (0x[0-9a-f]+) (\S+)$/.exec(line);
  const [, start, end, type] = fields ?? [];
  if (start === undefined || end === undefined || type === undefined) {
    throw new IospanError(
      "ERR_IOSPAN_MALFORMED_ANSWER",
      `group ${group} lists a reserved region as ${JSON.stringify(line)}`,
      {
        hint: `expected "0xSTART 0xEND TYPE": cat ${groupPath(group)}/reserved_regions`,
      },
    );
  }
  return { start: BigInt(start), end: BigInt(end), type };
}

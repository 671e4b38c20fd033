import { IospanError } from "../../errors.js";
import { reservedRegions } from "../../machine/groups.js";
import { switchIommuOnHint } from "../../machine/iommus.js";
import { baseName, listNames, readAttribute, type SysfsSource } from "../../machine/sysfs.js";
import { checked } from "../check.js";
import type { Finding, Topology, TopologyGroup } from "../topology.js";
import { otherDevice, sysfsDevices } from "./devices.js";
import { sysfsIommus } from "./iommus.js";

const GROUPS = "/sys/kernel/iommu_groups";

const NO_IOMMU: Finding = {
  id: "no-iommu",
  severity: "warning",
  text: `the kernel drives no IOMMU: ${switchIommuOnHint}`,
};

/**
 * What a running kernel says in sysfs: its IOMMUs of every kind, its groups, and the devices of the PCI and platform buses
 * as well as those of other buses that are in a group. It does not tell StreamIDs, nor what is switched off.
 * @param source a machine, or whatever else has a sysfs.
 * @param name what the source is called in the result.
 * @throws IospanError `ERR_IOSPAN_NO_IOMMU` where there is no sysfs, `ERR_IOSPAN_NO_PERMISSION` or
 * `ERR_IOSPAN_MALFORMED_ANSWER` where it cannot be read.
 */
export function topologyOfSysfs(source: SysfsSource, name = "/sys"): Topology {
  requireSysfs(source, name);
  const numbers = (listNames(source, GROUPS) ?? []).filter((each) => /^\d+$/.test(each)).map(Number);
  const members = membersOf(source, numbers);
  const listed = sysfsDevices(source, members);
  const names = new Set(listed.map((device) => device.name));
  const others = [...members].filter(([name]) => !names.has(name));
  const devices = [
    ...listed,
    ...others.flatMap(([name, group]) => otherDevice(source, `${GROUPS}/${group}/devices/${name}`) ?? []),
  ];
  // A partial copy may lack the class; the devices' links name the IOMMUs all the same.
  const linked = devices.flatMap(({ links }) => links.map(({ iommu }) => baseName(iommu)));
  const iommus = sysfsIommus(source, linked);
  return checked({
    sources: [{ kind: "sysfs", name }],
    iommus,
    groups: numbers.sort((a, b) => a - b).map((number) => groupOf(source, number)),
    devices,
    engines: [],
    memory: undefined,
    findings: iommus.length === 0 ? [NO_IOMMU] : [],
  });
}

function requireSysfs(source: SysfsSource, name: string): void {
  if (["/sys/class", "/sys/bus", "/sys/kernel"].some((each) => listNames(source, each) !== undefined)) return;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${name} is no sysfs: it has none of class, bus and kernel`, {
    hint: "name a copy of /sys, or of the folder it is in, with its links as links: cp -a, or tar",
  });
}

function groupOf(source: SysfsSource, number: number): TopologyGroup {
  return {
    number,
    type: readAttribute(source, `${GROUPS}/${number}/type`),
    reserved: reservedRegions(source, number),
  };
}

/** Names of the devices in groups, and their group. */
function membersOf(source: SysfsSource, numbers: readonly number[]): ReadonlyMap<string, number> {
  const pairs = numbers.flatMap((number) =>
    (listNames(source, `${GROUPS}/${number}/devices`) ?? []).map((name) => [name, number] as const),
  );
  return new Map(pairs);
}

import { IospanError } from "../../errors.js";
import { reservedRegions } from "../../machine/groups.js";
import { enableIommuHint } from "../../machine/iommus.js";
import { baseName, listNames, readAttribute, type SysfsSource } from "../../machine/sysfs.js";
import { checked } from "../check.js";
import type { Finding, Topology, TopologyDevice, TopologyGroup } from "../topology.js";
import { otherDevice, sysfsDevices } from "./devices.js";
import { sysfsIommus } from "./iommus.js";

const GROUPS = "/sys/kernel/iommu_groups";

const NO_IOMMU: Finding = {
  id: "no-iommu",
  severity: "warning",
  text: `the kernel drives no IOMMU: ${enableIommuHint}`,
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
  const listed = sysfsDevices(source);
  const names = new Set(listed.map((device) => device.name));
  const devices = [...listed, ...numbers.flatMap((number) => othersOf(source, number, names))];
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

/** Members of a group that are not among the devices of the buses that were listed. */
function othersOf(source: SysfsSource, number: number, known: ReadonlySet<string>): readonly TopologyDevice[] {
  const folder = `${GROUPS}/${number}/devices`;
  const others = (listNames(source, folder) ?? []).filter((each) => !known.has(each));
  return others.flatMap((each) => otherDevice(source, `${folder}/${each}`) ?? []);
}

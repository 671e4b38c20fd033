import { baseName, listNames, readAttribute, type SysfsSource } from "../../machine/sysfs.js";
import { kindOfCompatible, kindOfName } from "../iommu-kind.js";
import type { TopologyIommu } from "../topology.js";
import { nodePath, resolveLink } from "./links.js";

const CLASS = "/sys/class/iommu";

/** The IOMMUs that the kernel drives, of whatever kind. @param linked names of some that may not be listed */
export function sysfsIommus(source: SysfsSource, linked: readonly string[]): readonly TopologyIommu[] {
  const names = new Set([...(listNames(source, CLASS) ?? []), ...linked]);
  return [...names].map((name) => iommuOf(source, name));
}

function iommuOf(source: SysfsSource, name: string): TopologyIommu {
  const path = `${CLASS}/${name}`;
  const parent = parentOf(source, path);
  const compatible = compatibleOf(source, parent);
  const node = nodePath(source, parent);
  return {
    path,
    paths: { sysfs: path, ...(node === undefined ? {} : { "device-tree": node }) },
    name,
    kind: kindOfName(name) ?? kindOfCompatible(compatible),
    compatible,
    addresses: addressesOf(source, path, name),
    enabled: true,
    disabledBecause: undefined,
    device: deviceOf(parent),
  };
}

/** The device that the IOMMU is: `/sys/devices/platform/c000000.iommu` for its `iommu/smmu3.0x…`. */
function parentOf(source: SysfsSource, path: string): string {
  return (resolveLink(source, path) ?? path).replace(/\/iommu\/[^/]+$/, "");
}

/** IOMMUs that are no device of their own stand below `/sys/devices/virtual` (drivers/base/core.c, get_device_parent). */
function deviceOf(parent: string): string | undefined {
  return parent.startsWith("/sys/devices/") && parent !== "/sys/devices/virtual" ? baseName(parent) : undefined;
}

function compatibleOf(source: SysfsSource, parent: string): readonly string[] {
  const text = readAttribute(source, `${parent}/of_node/compatible`);
  return (text ?? "").split("\0").filter((each) => each !== "");
}

/** SMMUs carry it in their names, DMAR units have a file, and others are named after their device: `fdab9000.iommu`. */
function addressesOf(source: SysfsSource, path: string, name: string): readonly bigint[] {
  const intel = readAttribute(source, `${path}/intel-iommu/address`);
  const digits = intel ?? /\.0x([0-9a-f]+)$/.exec(name)?.[1] ?? /^([0-9a-f]+)\./.exec(name)?.[1];
  return digits !== undefined && /^(0x)?[0-9a-f]+$/.test(digits) ? [BigInt(`0x${digits.replace(/^0x/, "")}`)] : [];
}

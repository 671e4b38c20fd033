import type { TopologyDevice } from "../topology/topology.js";

/**
 * Whether it is a PCI host, or a part of a segment, that firmware alone tells of: the functions behind it are not listed, and
 * it stands for them. In a kernel's own list functions are listed themselves.
 */
export function standsForFunctions(device: TopologyDevice): boolean {
  return device.isBus && device.paths.sysfs === undefined && isPciHost(device);
}

/** Other buses have maps of IDs, too: host1x, fsl-mc; and so has a PCIe controller that is an endpoint itself. */
export function isPciHost({ name, compatible, bus, paths, domain }: TopologyDevice): boolean {
  if (bus === "pci" || paths.iort !== undefined || paths.dmar !== undefined || paths.ivrs !== undefined) return true;
  const texts = [name, ...compatible];
  if (texts.some((each) => /pcie?-ep\b/.test(each))) return false;
  return domain !== undefined || texts.some((each) => /pci/i.test(each));
}

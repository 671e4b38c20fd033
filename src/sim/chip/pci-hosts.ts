import { toRoot } from "../../devicetree/address.js";
import { deviceTreeError } from "../../devicetree/device-tree-error.js";
import type { TreeNode } from "../../devicetree/node.js";
import type { AddressMap } from "./address-map.js";
import { type PhysicalRange, physicalRange, physicalRanges } from "./physical-range.js";
import { platformNodes } from "./platform-names.js";

const HOST_COMPATIBLE = "pci-host-ecam-generic";
const LAST_BUS = 0xff;
/** Configuration space of one bus: 32 devices of 8 functions of 4 KiB (PCI Express Base 7.2.2). */
const BUS_SIZE = 2 ** 20;
const PCI_SPACE = 0x03n << 88n;
const PCI_IO = 0x01n << 88n;

/** Bus numbers, the last one among them. */
export interface BusRange {
  readonly first: number;
  readonly last: number;
}

/** A PCIe root complex. */
export interface PciHost {
  readonly node: TreeNode;
  readonly domain: number;
  readonly buses: BusRange;
  /** Physical addresses for BARs; the first is that with the lowest address. */
  readonly windows: readonly PhysicalRange[];
}

/**
 * The PCIe hosts that are enabled, in the order of the tree.
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE`
 */
export function pciHosts(root: TreeNode, addresses: AddressMap): readonly PciHost[] {
  const nodes = [...platformNodes(root)].filter((node) => node.property("device_type")?.text === "pci");
  const domains = domainsOf(nodes);
  return nodes.map((node, index) => pciHost(node, domains[index] ?? index, addresses));
}

function pciHost(node: TreeNode, domain: number, addresses: AddressMap): PciHost {
  if (!node.isCompatible(HOST_COMPATIBLE)) {
    const problem = `is ${node.compatible[0]}: only ${HOST_COMPATIBLE} is simulated`;
    throw deviceTreeError(node.path, problem, `disable it, status = "disabled", or make it ${HOST_COMPATIBLE}`);
  }
  const buses = busRange(node) ?? { first: 0, last: LAST_BUS };
  const [ecam] = physicalRanges(node);
  const size = (buses.last - buses.first + 1) * BUS_SIZE;
  if (ecam === undefined || ecam.size < size) {
    return node.required("reg").fail(`should be 0x${size.toString(16)} bytes, 1 MiB for each bus of bus-range`);
  }
  const windows = memoryWindows(node);
  addresses.claim(node, "configuration space", [ecam]);
  addresses.claim(node, "windows", windows);
  return { node, domain, buses, windows };
}

/** `bus-range`, of a host or a bridge. */
export function busRange(node: TreeNode): BusRange | undefined {
  const property = node.property("bus-range");
  if (property === undefined) return undefined;
  const [first = 0, last = 0, ...more] = property.cells;
  if (property.cells.length < 2 || more.length > 0 || first > last || last > LAST_BUS) {
    property.fail("should be the first and the last bus number, up to 255");
  }
  return { first, last };
}

/** `linux,pci-domain` where the hosts have it, else numbers from 0 on (drivers/pci/of.c, of_get_pci_domain_nr). */
function domainsOf(nodes: readonly TreeNode[]): readonly number[] {
  const seen = new Map<number, TreeNode>();
  if (!nodes.some((node) => node.has("linux,pci-domain"))) return nodes.map((_, index) => index);
  return nodes.map((node) => {
    const property = node.required("linux,pci-domain");
    const domain = property.cell;
    const other = seen.get(domain);
    if (other !== undefined) property.fail(`is ${domain}, which is ${other.path}'s already`);
    if (domain > 0xffff) property.fail(`is ${domain}, and should have 16 bits`);
    seen.set(domain, node);
    return domain;
  });
}

/** The rows of `ranges` that are memory. */
function memoryWindows(node: TreeNode): readonly PhysicalRange[] {
  const { parent } = node;
  const ranges = node.property("ranges");
  if (parent === undefined || ranges === undefined) return [];
  const windows = ranges
    .rows([node.addressCells, parent.addressCells, node.sizeCells])
    .filter(([from = 0n]) => (from & PCI_SPACE) !== PCI_IO)
    .map(([, to = 0n, size = 0n]) => {
      const address = toRoot(parent, to) ?? ranges.fail("is not covered by the ranges of the buses above");
      return physicalRange(node, "ranges", { address, size });
    });
  return windows.sort((a, b) => a.start - b.start);
}

import { fullPaths } from "../../devicetree/aliases.js";
import type { TreeNode } from "../../devicetree/node.js";
import type { DeviceTree } from "../../devicetree/tree.js";
import { IospanError } from "../../errors.js";
import { checked } from "../check.js";
import { kindOfCompatible } from "../iommu-kind.js";
import { iommuName } from "../iommu-name.js";
import { pciName } from "../pci-name.js";
import {
  type Finding,
  type Topology,
  type TopologyDevice,
  type TopologyEngine,
  type TopologyIommu,
  type TopologyMemory,
  topologyDevice,
} from "../topology.js";
import { availability } from "./availability.js";
import { isCoherent, isCoherentByDefault } from "./coherence.js";
import { compatibleOf } from "./compatible.js";
import type { IommuEntry } from "./iommu-entries.js";
import { platformName } from "./kernel-name.js";
import { legacyMasters } from "./legacy-masters.js";
import { functionLinks, linksOf, mapLinks, mapOf, ownLinks } from "./master-links.js";
import { isPci, pciNode } from "./pci-node.js";
import { reservedAddresses } from "./reserved-addresses.js";

/**
 * What a device tree says of IOMMUs and of what is behind them. It cannot tell groups or drivers, and of PCI only the
 * functions it has nodes for. A node that cannot be read becomes a finding; the others are read all the same.
 * @param name what the source is called in the result, usually the file.
 */
export function topologyOfTree(tree: DeviceTree, name: string): Topology {
  return new TreeReader(tree).read(name);
}

class TreeReader {
  readonly #tree: DeviceTree;
  readonly #findings: Finding[] = [];
  readonly #legacy: ReadonlyMap<TreeNode, readonly IommuEntry[]>;
  readonly #domains: ReadonlyMap<TreeNode, number>;
  /** What is coherent where the tree does not say. */
  readonly #isCoherent: boolean;

  constructor(tree: DeviceTree) {
    this.#tree = tree;
    this.#legacy = this.#tolerant(tree.root, () => legacyMasters(tree)) ?? new Map();
    this.#domains = this.#readDomains();
    this.#isCoherent = this.#tolerant(tree.root, () => isCoherentByDefault(tree)) ?? false;
  }

  read(name: string): Topology {
    const iommus: TopologyIommu[] = [];
    const devices: TopologyDevice[] = [];
    const memory: TopologyMemory[] = [];
    const others: string[] = [];
    for (const node of this.#tree.nodes()) {
      const isOne = isIommu(node);
      if (isOne) iommus.push(this.#tolerant(node, () => iommuOf(node, this.#isCoherent)) ?? plainIommu(node));
      memory.push(...(this.#tolerant(node, () => memoryOf(node)) ?? []));
      const found = this.#tolerant(node, () => this.#devicesOf(node));
      devices.push(...(found ?? []));
      // Of what is malformed nobody knows, and a finding says so.
      if (!isOne && found?.length === 0 && isOtherDevice(node)) others.push(node.path);
    }
    const engines = this.#tolerant(this.#tree.root, () => enginesOf(this.#tree, devices)) ?? [];
    const aliases = aliasesOf(this.#tree);
    const sources = [{ kind: "device-tree" as const, name }];
    const findings = this.#findings;
    return checked({ sources, iommus, groups: [], devices, engines, memory, aliases, others, findings });
  }

  #devicesOf(node: TreeNode): readonly TopologyDevice[] {
    const pci = pciNode(node);
    if (pci !== undefined) return this.#pciDevice(node, pci);
    const map = this.#tolerant(node, () => mapOf(node));
    const own = ownLinks(node);
    this.#report(node, [...own.problems, ...(map?.problem === undefined ? [] : [`iommu-map ${map.problem}`])]);
    const legacy = linksOf(this.#legacy.get(node) ?? [], "mmu-masters");
    const links = [...own.links, ...legacy, ...(map === undefined ? [] : mapLinks(map))];
    const isMaster = node.has("iommus") || node.has("iommu-map") || legacy.length > 0;
    return isMaster ? [this.#device(node, { name: platformName(node), bus: "platform", links })] : [];
  }

  /** Functions count where something is known of their IDs, or the tree connects them with IOMMUs themselves. */
  #pciDevice(
    node: TreeNode,
    { host, requesterId }: { readonly host: TreeNode; readonly requesterId: number | undefined },
  ): readonly TopologyDevice[] {
    const own = ownLinks(node);
    this.#report(node, own.problems);
    // Of PCI functions Linux asks the host's map alone (drivers/iommu/of_iommu.c, of_iommu_configure).
    const ignored = own.links.map((link) => ({ ...link, used: false }));
    const links = [...ignored, ...functionLinks(host, requesterId)];
    if (!node.has("iommus") && !host.has("iommu-map")) return [];
    const domain = this.#domains.get(host);
    const isNamed = domain !== undefined && requesterId !== undefined;
    const name = isNamed ? pciName(domain, requesterId) : node.name;
    const known = { name, bus: "pci", isBus: false, links, requesterId, domain, host: host.path, pci: pciIds(node) };
    // Linux sets a function's DMA up by the node of its host (drivers/pci/pci-driver.c, pci_dma_configure).
    return [this.#device(node, known, host)];
  }

  #device(
    node: TreeNode,
    known: Pick<TopologyDevice, "name" | "bus" | "links"> & Partial<TopologyDevice>,
    of = node,
  ): TopologyDevice {
    const reserved = reservedAddresses(node);
    return topologyDevice({
      path: node.path,
      paths: { "device-tree": node.path },
      isBus: node.has("iommu-map"),
      compatible: compatibleOf(node),
      ...(isPci(node) && known.bus !== "pci" ? { domain: this.#domains.get(node) } : {}),
      ...availability(node),
      ...known,
      reserved,
      coherent: isCoherent(of, this.#isCoherent),
    });
  }

  /** Only where the tree numbers its domains itself are they known. */
  #readDomains(): ReadonlyMap<TreeNode, number> {
    const domains = new Map<TreeNode, number>();
    for (const node of this.#tree.nodes()) {
      const domain = this.#tolerant(node, () => node.property("linux,pci-domain")?.cell);
      if (domain !== undefined) domains.set(node, domain);
    }
    return domains;
  }

  #report(node: TreeNode, problems: readonly string[]): void {
    for (const problem of problems) {
      this.#findings.push({
        id: "malformed",
        severity: "warning",
        about: node.path,
        text: `${node.path}: ${problem}; Linux ignores the rest`,
      });
    }
  }

  /** Undefined, and a finding, where the node is malformed. */
  #tolerant<T>(node: TreeNode, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof IospanError)) throw error;
      this.#findings.push({ id: "malformed", severity: "warning", about: node.path, text: error.message });
      return undefined;
    }
  }
}

/** PMCGs and the contexts of an IOMMU are called alike, and translate nothing. */
function isIommu(node: TreeNode): boolean {
  return node.has("#iommu-cells") || node.has("mmu-masters");
}

function iommuOf(node: TreeNode, byDefault: boolean): TopologyIommu {
  const addresses = node.cpuAddresses.flatMap((range) => range?.address ?? []);
  const plain = plainIommu(node);
  const { kind, compatible } = plain;
  const device = platformName(node);
  const name = iommuName({ kind, address: addresses[0], device, compatible });
  // A virtio device is numbered when it is found, and what is on PCI named by its address there.
  const isPlatform = kind !== "virtio" && pciNode(node) === undefined;
  return {
    ...plain,
    name,
    addresses,
    device: isPlatform ? device : undefined,
    coherent: isCoherent(node, byDefault),
  };
}

/** Of one whose `reg` is malformed. */
function plainIommu(node: TreeNode): TopologyIommu {
  const { path } = node;
  const compatible = compatibleOf(node);
  const kind = kindOfCompatible(compatible);
  return {
    path,
    paths: { "device-tree": path },
    name: node.name,
    kind,
    compatible,
    addresses: [],
    ...availability(node),
  };
}

function isMemory(node: TreeNode): boolean {
  return node.property("device_type")?.texts[0] === "memory";
}

/** Boot loaders fill in what is empty. */
function memoryOf(node: TreeNode): readonly TopologyMemory[] {
  if (!isMemory(node) || !availability(node).enabled) return [];
  return node.reg.filter(({ size }) => size > 0n).map(({ address, size }) => ({ start: address, size }));
}

/** `pci1234,d9e1`, as in Open Firmware's PCI binding. */
function pciIds(node: TreeNode): TopologyDevice["pci"] {
  const found = compatibleOf(node)
    .map((each) => /^pci([0-9a-f]{1,4}),([0-9a-f]{1,4})$/.exec(each))
    .find(Boolean);
  const [, vendor, device] = found ?? [];
  if (vendor === undefined || device === undefined) return undefined;
  return { vendor: Number.parseInt(vendor, 16), device: Number.parseInt(device, 16) };
}

/** Linux makes a device of what has a `compatible` (drivers/of/platform.c, of_platform_bus_create). */
function isOtherDevice(node: TreeNode): boolean {
  return node.parent !== undefined && node.has("compatible");
}

/** Those that lead somewhere, by name; as paths. */
function aliasesOf(tree: DeviceTree): ReadonlyMap<string, string> {
  const paths = Array.from(fullPaths(tree.root.child("aliases")));
  return new Map(paths.flatMap(([name, path]) => (path === undefined ? [] : [[name, path] as const])));
}

/** Interfaces whose nodes have `iospan,engine = <&other>` are the other one's device. */
function enginesOf(tree: DeviceTree, devices: readonly TopologyDevice[]): readonly TopologyEngine[] {
  const interfaces = new Map<string, string[]>();
  for (const { path } of devices) {
    const main = tree.find(path)?.property("iospan,engine")?.target;
    if (main !== undefined) interfaces.set(main.path, [...(interfaces.get(main.path) ?? [main.path]), path]);
  }
  const known = new Set(devices.map(({ path }) => path));
  return [...interfaces]
    .map(([main, paths]) => ({
      name: tree.find(main)?.name ?? main,
      interfaces: paths.filter((each) => known.has(each)),
    }))
    .filter((engine) => engine.interfaces.length > 1);
}

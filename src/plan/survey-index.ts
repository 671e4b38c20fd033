import type { GroupAnswer, KernelFacts, Survey } from "../survey/survey.js";
import type {
  Finding,
  Topology,
  TopologyDevice,
  TopologyEngine,
  TopologyGroup,
  TopologyIommu,
} from "../topology/topology.js";
import { sharedIds } from "./shared-ids.js";

/** A survey, to be looked things up in: each list is gone through once, however many plans are made. */
export class SurveyIndex {
  readonly topology: Topology;
  readonly kernel: KernelFacts | undefined;
  readonly #iommus: ReadonlyMap<string, TopologyIommu>;
  readonly #devices: ReadonlyMap<string, TopologyDevice>;
  readonly #byName: ReadonlyMap<string, TopologyDevice>;
  readonly #members: ReadonlyMap<number, readonly TopologyDevice[]>;
  readonly #groups: ReadonlyMap<number, TopologyGroup>;
  readonly #findings: ReadonlyMap<string, readonly Finding[]>;
  readonly #engines: ReadonlyMap<string, TopologyEngine>;
  /** IOMMUs that a device on a VFIO driver is behind, by path. */
  readonly #taken: ReadonlySet<string>;
  /** Nodes of a device tree that PCI functions are below. */
  readonly #bridges: ReadonlySet<string>;
  readonly #sharers: ReadonlyMap<string, readonly string[]>;

  constructor({ topology, kernel }: Survey) {
    this.topology = topology;
    this.kernel = kernel;
    const { devices } = topology;
    this.#iommus = new Map(topology.iommus.map((iommu) => [iommu.path, iommu]));
    this.#devices = new Map(devices.map((device) => [device.path, device]));
    this.#byName = new Map(devices.map((device) => [device.name, device]));
    this.#members = grouped(devices, ({ group }) => (typeof group === "number" ? [group] : []));
    this.#groups = new Map(topology.groups.map((group) => [group.number, group]));
    this.#findings = grouped(topology.findings, ({ about }) => (about === undefined ? [] : [about]));
    this.#engines = new Map(topology.engines.flatMap((engine) => engine.interfaces.map((path) => [path, engine])));
    const onVfio = devices.filter((device) => isOnVfio(device) && kernel?.devices.get(device.path)?.noiommu !== true);
    this.#taken = new Set(
      onVfio.flatMap(({ links }) => links.filter(({ used }) => used === true).map(({ iommu }) => iommu)),
    );
    this.#sharers = sharedIds(devices);
    this.#bridges = new Set(
      devices.filter(({ bus }) => bus === "pci").map(({ paths }) => parentOf(paths["device-tree"] ?? "")),
    );
  }

  iommu(path: string): TopologyIommu | undefined {
    return this.#iommus.get(path);
  }

  device(path: string): TopologyDevice | undefined {
    return this.#devices.get(path);
  }

  /** The bus that a device is on: hosts go by path or by name. */
  host({ host }: TopologyDevice): TopologyDevice | undefined {
    return host === undefined ? undefined : (this.#devices.get(host) ?? this.#byName.get(host));
  }

  members(group: number): readonly TopologyDevice[] {
    return this.#members.get(group) ?? [];
  }

  group(number: number): TopologyGroup | undefined {
    return this.#groups.get(number);
  }

  /** What the kernel said of a group when it was asked. */
  answer(group: number): GroupAnswer | undefined {
    return this.kernel?.groups.get(group)?.answer;
  }

  /** What there is to say about the thing at a path. */
  findings(path: string): readonly Finding[] {
    return this.#findings.get(path) ?? [];
  }

  engine(device: string): TopologyEngine | undefined {
    return this.#engines.get(device);
  }

  /** Whether VFIO has a device behind this IOMMU, so that its driver has what VFIO asks of it. */
  servesVfio(iommu: string): boolean {
    return this.#taken.has(iommu);
  }

  /** Whether it is a PCI bridge, to firmware or to the kernel. */
  isBridge({ bus, pci, driver, paths, compatible }: TopologyDevice): boolean {
    if (bus !== "pci") return false;
    const node = paths["device-tree"];
    return (
      driver === "pcieport" ||
      (pci?.class ?? 0) >> 8 === BRIDGE ||
      compatible.includes("pciclass,0604") ||
      (node !== undefined && (this.#bridges.has(node) || BRIDGE_NODE.test(node)))
    );
  }

  /** Names of other devices that have an ID in common with this one, at the same IOMMU. */
  sharers({ path }: TopologyDevice): readonly string[] {
    return this.#sharers.get(path) ?? [];
  }
}

/** The base class and subclass of PCI bridges. */
const BRIDGE = 0x0604;

/** What bindings call the nodes of bridges, and of nothing else that has a function (dt-schema, pci-pci-bridge.yaml). */
const BRIDGE_NODE = /\/pcie?@[^/]*$/;

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

/** Whether the device is bound to a driver that hands it to user space. */
export function isOnVfio({ driver }: Pick<TopologyDevice, "driver">): boolean {
  return driver?.includes("vfio") === true;
}

/** The items by what they belong to. */
export function grouped<K, T>(items: readonly T[], keysOf: (item: T) => readonly K[]): ReadonlyMap<K, readonly T[]> {
  const lists = new Map<K, T[]>();
  for (const item of items) {
    for (const key of keysOf(item)) {
      const list = lists.get(key);
      if (list === undefined) lists.set(key, [item]);
      else list.push(item);
    }
  }
  return lists;
}

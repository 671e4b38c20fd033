import type { Topology, TopologyDevice, TopologyEngine, TopologyIommu } from "../topology.js";
import { type Bunch, bunchesOf } from "./bunches.js";
import { type Drawn, drawnOf } from "./drawn.js";
import type { Graph, GraphBox, GraphEdge, GraphNode, PictureOptions } from "./graph.js";
import { bunchFacts, bunchName, counted, deviceFacts, idLabel, iommuFacts, memoryFacts, subtitleOf } from "./labels.js";

const MEMORY = "memory";

/** A topology as boxes and lines. @internal */
export function graphOf(topology: Topology, options: PictureOptions = {}): Graph {
  return new GraphBuilder(topology, options).build();
}

/** A bunch, and the box it becomes. */
interface DrawnBunch {
  readonly bunch: Bunch;
  readonly node: GraphNode;
}

class GraphBuilder {
  readonly #topology: Topology;
  readonly #drawn: Drawn;
  readonly #bunches: readonly DrawnBunch[];
  /** By path. */
  readonly #ids = new Map<string, string>();
  readonly #iommus: ReadonlyMap<string, TopologyIommu>;
  readonly #hosts: ReadonlySet<TopologyDevice>;
  /** Numbers of groups of several. */
  readonly #boxed: ReadonlySet<number>;

  constructor(topology: Topology, options: PictureOptions) {
    this.#topology = topology;
    this.#drawn = drawnOf(topology, options);
    this.#iommus = new Map(this.#drawn.iommus.map((iommu) => [iommu.path, iommu]));
    for (const [index, { path }] of this.#drawn.iommus.entries()) this.#ids.set(path, `iommu${index}`);
    const bunches = bunchesOf(topology, this.#drawn, options);
    for (const [index, bunch] of bunches.entries()) {
      for (const { path } of bunch) this.#ids.set(path, `device${index}`);
    }
    this.#hosts = new Set(this.#drawn.hosts.values());
    this.#boxed = groupsOfSeveral(this.#drawn.devices);
    this.#bunches = bunches.map((bunch) => ({ bunch, node: this.#node(bunch) }));
  }

  build(): Graph {
    const groups = this.#groupBoxes();
    const engines = this.#engineBoxes(groups);
    const boxes = [...engines, ...groups.filter((group) => !engines.some((engine) => engine.boxes.includes(group)))];
    const boxed = new Set(boxes.flatMap(membersOf));
    const iommus = this.#drawn.iommus.map((iommu): GraphNode => {
      const { path, name, enabled } = iommu;
      return { id: this.#idOf(path), kind: "iommu", name, facts: iommuFacts(iommu), isOff: !enabled };
    });
    const facts = memoryFacts(this.#topology.memory);
    const memory: GraphNode = { id: MEMORY, kind: "memory", name: "memory", facts, isOff: false };
    return {
      title: this.#topology.sources.map(({ name }) => name).join(" and "),
      subtitle: subtitleOf(this.#topology, this.#drawn),
      boxes,
      nodes: [...this.#bunches.map(({ node }) => node).filter(({ id }) => !boxed.has(id)), ...iommus, memory],
      edges: this.#edges(),
    };
  }

  #node(bunch: Bunch): GraphNode {
    const [device, ...more] = bunch;
    const known = { id: this.#idOf(device.path), isOff: bunch.every(({ enabled }) => !enabled) };
    if (more.length > 0) return { ...known, kind: "device", name: bunchName(bunch), facts: bunchFacts(bunch) };
    const engine = this.#topology.engines.find(({ interfaces }) => interfaces.includes(device.path));
    const isHost = device.isBus || this.#hosts.has(device);
    const kind = engine !== undefined ? "interface" : isHost ? "bus" : "device";
    const group = typeof device.group === "number" && !this.#boxed.has(device.group) ? device.group : undefined;
    return {
      ...known,
      kind,
      name: device.name,
      facts: deviceFacts(device, { kind, group, partOf: this.#isTorn(engine) ? engine?.name : undefined }),
    };
  }

  /** A group of one is a word in its device's box. */
  #groupBoxes(): readonly GraphBox[] {
    return [...this.#boxed].map((number) => ({
      id: `group${number}`,
      kind: "group",
      label: `group ${number}`,
      boxes: [],
      nodes: this.#bunches.filter(({ bunch }) => bunch[0]?.group === number).map(({ node }) => node),
    }));
  }

  /** Around its interfaces, or around their groups where these are its alone. */
  #engineBoxes(groups: readonly GraphBox[]): readonly GraphBox[] {
    return this.#topology.engines.flatMap(({ name, interfaces }, index) => {
      const ids = new Set(interfaces.map((path) => this.#idOf(path)));
      const around = groups.filter(({ nodes }) => nodes.some(({ id }) => ids.has(id)));
      if (this.#isTorn({ name, interfaces })) return [];
      const inGroups = new Set(around.flatMap(membersOf));
      const nodes = this.#bunches.map(({ node }) => node).filter(({ id }) => ids.has(id) && !inGroups.has(id));
      const label = `${name}: one device, ${counted(interfaces.length, "interface")}`;
      return nodes.length + around.length > 0
        ? [{ id: `engine${index}`, kind: "engine" as const, label, boxes: around, nodes }]
        : [];
    });
  }

  /** Whether an interface is in a group with what is not the engine's: no box can be in two, so that words have to do. */
  #isTorn(engine: TopologyEngine | undefined): boolean {
    const isOwn = ({ path }: TopologyDevice) => engine?.interfaces.includes(path) === true;
    const groups = new Set(this.#drawn.devices.filter(isOwn).map(({ group }) => group));
    return this.#drawn.devices.some((each) => typeof each.group === "number" && groups.has(each.group) && !isOwn(each));
  }

  #edges(): readonly GraphEdge[] {
    const edges = this.#bunches.flatMap(({ bunch, node }) => this.#edgesOf(bunch, node));
    const toMemory = this.#drawn.iommus.map(
      ({ path, enabled }): GraphEdge => ({ from: this.#idOf(path), to: MEMORY, label: "", isUnused: !enabled }),
    );
    return [...edges, ...toMemory];
  }

  #edgesOf(bunch: Bunch, { id: from, isOff }: GraphNode): readonly GraphEdge[] {
    const [device] = bunch;
    const host = this.#drawn.hosts.get(device.path);
    if (host !== undefined) {
      const to = this.#idOf(host.path);
      return [{ from, to, label: bunch.length > 1 ? "" : this.#idsOf(device), isUnused: isOff }];
    }
    if (device.links.length === 0) return this.#edgeOfHost(device, from);
    return device.links
      .filter(({ iommu }) => this.#iommus.has(iommu))
      .map(({ iommu, ids, used }) => ({
        from,
        to: this.#idOf(iommu),
        label: bunch.length > 1 ? "" : idLabel(ids, this.#iommus.get(iommu)),
        isUnused: used === false || isOff,
      }));
  }

  #idsOf({ links }: TopologyDevice): string {
    const [link] = links;
    return link === undefined ? "" : idLabel(link.ids, this.#iommus.get(link.iommu));
  }

  /** The kernel says nothing of the host itself: it leads where all that is on it goes. */
  #edgeOfHost(host: TopologyDevice, from: string): readonly GraphEdge[] {
    const [path] = [...this.#drawn.hosts].find(([, each]) => each === host) ?? [];
    const [link] = this.#drawn.devices.find((each) => each.path === path)?.links ?? [];
    if (link === undefined || !this.#iommus.has(link.iommu)) return [];
    return [{ from, to: this.#idOf(link.iommu), label: "", isUnused: false }];
  }

  #idOf(path: string): string {
    return this.#ids.get(path) ?? path;
  }
}

/** Numbers of groups of several. */
function groupsOfSeveral(devices: readonly TopologyDevice[]): ReadonlySet<number> {
  const seen = new Set<number>();
  const several = new Set<number>();
  for (const { group } of devices) {
    if (typeof group !== "number") continue;
    if (seen.has(group)) several.add(group);
    seen.add(group);
  }
  return several;
}

/** IDs of all that is in a box. */
function membersOf({ nodes, boxes }: GraphBox): readonly string[] {
  return [...nodes.map(({ id }) => id), ...boxes.flatMap(membersOf)];
}

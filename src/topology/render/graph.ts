import type { Topology, TopologyDevice } from "../topology.js";

/** A box of a picture. */
export interface GraphNode {
  readonly id: string;
  readonly shape: "engine" | "device" | "iommu" | "memory" | "group";
  /** Lines of text. */
  readonly label: readonly string[];
  readonly isOff: boolean;
}

/** A line of a picture, in the direction that DMA goes. */
export interface GraphEdge {
  readonly from: string;
  readonly to: string;
  readonly label: string;
  /** Drawn broken: Linux does not use it. */
  readonly isUnused: boolean;
}

/** A box around others: a group. */
export interface GraphBox {
  readonly id: string;
  readonly label: string;
  readonly members: readonly GraphNode[];
}

/** A topology as boxes and lines: engines, devices (in groups of several), IOMMUs, memory. */
export interface Graph {
  readonly boxes: readonly GraphBox[];
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
}

const MEMORY = "memory";
/** IDs that an edge shows. */
const MOST_IDS = 3;

/** Devices that no IOMMU is told of are left out; they would be most of a machine. @internal */
export function graphOf(topology: Topology): Graph {
  const ids = new Map<string, string>();
  for (const [index, { path }] of topology.iommus.entries()) ids.set(path, `iommu${index}`);
  const devices = topology.devices.filter(({ links }) => links.length > 0);
  for (const [index, { path }] of devices.entries()) ids.set(path, `device${index}`);
  const idOf = (path: string) => ids.get(path) ?? path;
  const boxes = boxesOf(devices, idOf);
  const boxed = new Set(boxes.flatMap(({ members }) => members.map(({ id }) => id)));
  const iommus = topology.iommus.map(
    ({ path, name, kind, enabled }): GraphNode => ({
      id: idOf(path),
      shape: "iommu",
      label: [name, kind],
      isOff: !enabled,
    }),
  );
  const alone = devices.map((device) => deviceNode(device, idOf)).filter(({ id }) => !boxed.has(id));
  const engines = topology.engines.map(
    ({ name }, index): GraphNode => ({
      id: `engine${index}`,
      shape: "engine",
      label: [name, "one device"],
      isOff: false,
    }),
  );
  const memory: GraphNode = { id: MEMORY, shape: "memory", label: ["memory"], isOff: false };
  const inGraph = new Set(devices.map(({ path }) => path));
  return {
    boxes,
    nodes: [...engines, ...alone, ...iommus, memory],
    edges: [
      ...topology.engines.flatMap(({ interfaces }, index) =>
        interfaces
          .filter((path) => inGraph.has(path))
          .map((path): GraphEdge => ({ from: `engine${index}`, to: idOf(path), label: "", isUnused: false })),
      ),
      ...devices.flatMap((device) => edgesOf(device, idOf)),
      ...topology.iommus.map(
        ({ path, enabled }): GraphEdge => ({ from: idOf(path), to: MEMORY, label: "", isUnused: !enabled }),
      ),
    ],
  };
}

/** A group of one is not worth a box. */
function boxesOf(devices: readonly TopologyDevice[], idOf: (path: string) => string): readonly GraphBox[] {
  const groups = new Map<number, TopologyDevice[]>();
  for (const device of devices) {
    if (typeof device.group === "number") groups.set(device.group, [...(groups.get(device.group) ?? []), device]);
  }
  return [...groups]
    .filter(([, members]) => members.length > 1)
    .map(([number, members]) => ({
      id: `group${number}`,
      label: `group ${number}`,
      members: members.map((device) => deviceNode(device, idOf)),
    }));
}

function deviceNode(device: TopologyDevice, idOf: (path: string) => string): GraphNode {
  const { name, bus, driver, enabled, isBus } = device;
  const kind = isBus ? `${bus} bus` : bus === "pci" ? "PCIe" : bus;
  const driven = driver === undefined ? [] : [driver ?? "no driver"];
  return { id: idOf(device.path), shape: "device", label: [name, [kind, ...driven].join(", ")], isOff: !enabled };
}

function edgesOf(device: TopologyDevice, idOf: (path: string) => string): readonly GraphEdge[] {
  return device.links.map(({ iommu, ids, used }) => ({
    from: idOf(device.path),
    to: idOf(iommu),
    label: idLabel(ids),
    isUnused: used === false || !device.enabled,
  }));
}

function idLabel(ids: TopologyDevice["links"][number]["ids"]): string {
  const shown = ids.slice(0, MOST_IDS).map(({ first, count }) => {
    const hex = `0x${first.toString(16)}`;
    return count > 1 ? `${hex} to 0x${(first + count - 1).toString(16)}` : hex;
  });
  return ids.length > MOST_IDS ? `${shown.join(", ")}, …` : shown.join(", ");
}

import type { Fate } from "./block-devices.js";
import { findHeldBlocks } from "./held-blocks.js";
import type { Finder, Ground, Lifeline } from "./lifeline.js";
import { findPossibleZfs } from "./possible-zfs.js";

/** Nodes whose users lose data, a screen or a terminal: graphics, terminals, ports of a hypervisor's. */
const CUTTING = /^\/dev\/(dri\/|tty|hvc\d|vport\d|console)/;
/** What is held open all the time and makes do without. */
const HARMLESS = /^\/dev\/(input\/|rtc|hwrng|rfkill|watchdog)/;
/** As many processes as a message names. */
const NAMED = 3;

interface Node extends Fate {
  readonly path: string;
  /** The block device's name. */
  readonly block?: string | undefined;
}

/**
 * Nodes of the device's, and of block devices that are made of its, that a process has open; and block devices of which no
 * use was found that way. VFIO's own nodes are not looked for: leaving VFIO has its own refusal.
 */
export const findOpenNodes: Finder = (ground) => {
  const nodes = new Map([...characterNodes(ground), ...blockNodes(ground)]);
  if (nodes.size === 0) return [];
  const holders = holdersOf(ground, nodes);
  const open = [...holders.keys()].flatMap(({ block }) => block ?? []);
  const used = new Set([...ground.storage.inUse, ...open].flatMap((name) => [...ground.storage.blocks.below(name)]));
  return [
    ...[...holders].flatMap(([node, processes]) => openNode(node, processes)),
    ...findHeldBlocks(ground, used),
    ...findPossibleZfs(ground, used),
  ];
};

function openNode(node: Node, processes: readonly string[]): readonly Lifeline[] {
  const { path, departure, block, lost, array, through } = node;
  if (HARMLESS.test(path)) return [];
  const more = processes.length > NAMED ? ` and ${processes.length - NAMED} more` : "";
  const layers = through.filter((name) => path !== `/dev/${name}`);
  const by = layers.length === 0 ? "" : ` (by ${layers.join(", ")})`;
  const whose = array === undefined || !lost ? "" : `, a member of whose redundant array ${array} is on`;
  const end = lost ? "" : "; it goes on over another path";
  const message =
    `${path}${whose === "" ? " of" : whose} ${departure.place}${by}${whose === "" ? " is" : ", is"} open in process ` +
    `${processes.slice(0, NAMED).join(", ")}${more}${end}`;
  const cuts = block === undefined ? CUTTING.test(path) : lost;
  return [{ kind: "open-node", device: departure.device, cuts, message }];
}

/** By path in /dev. */
function characterNodes({ reader, departures }: Ground): readonly (readonly [string, Node])[] {
  return [...reader.targets("/sys/dev/char").values()].flatMap((folder) => {
    const departure = departures.of(folder);
    const name = departure && /^DEVNAME=(.+)$/m.exec(reader.text(`${folder}/uevent`) ?? "")?.[1];
    if (departure === undefined || name === undefined || name.startsWith("vfio/")) return [];
    const path = `/dev/${name}`;
    return [[path, { path, departure, lost: true, through: [] }] as const];
  });
}

/** A block device of several layers is none of the device's children: `/dev/dm-0` is below /sys/devices/virtual. */
function blockNodes({ storage: { blocks }, departures }: Ground): readonly (readonly [string, Node])[] {
  return blocks.names.flatMap((block) => {
    const fate = blocks.fate(block, departures);
    if (fate === undefined) return [];
    const paths = blocks.nodesOf(block);
    const node: Node = { ...fate, block, path: paths[0] ?? block };
    return paths.map((path) => [path, node] as const);
  });
}

function holdersOf({ reader }: Ground, nodes: ReadonlyMap<string, Node>): ReadonlyMap<Node, string[]> {
  const holders = new Map<Node, string[]>();
  for (const pid of reader.names("/proc").filter((name) => /^\d+$/.test(name))) {
    const open = reader.names(`/proc/${pid}/fd`).map((fd) => nodes.get(reader.link(`/proc/${pid}/fd/${fd}`) ?? ""));
    for (const node of new Set(open)) {
      if (node === undefined) continue;
      holders.set(node, [...(holders.get(node) ?? []), `${pid} (${reader.text(`/proc/${pid}/comm`) ?? "?"})`]);
    }
  }
  return holders;
}

import type { Departure } from "./departures.js";
import type { Finder, Ground, Lifeline } from "./lifeline.js";

/** Nodes whose users lose data, a screen or a terminal: disks, graphics, terminals, ports of a hypervisor's. */
const CUTTING = /^(dri\/|tty|hvc\d|vport\d|console)/;
/** What is held open all the time and makes do without. */
const HARMLESS = /^(input\/|rtc|hwrng|rfkill|watchdog)/;
/** As many processes as a message names. */
const NAMED = 3;

interface Node {
  /** Below /dev. */
  readonly name: string;
  readonly departure: Departure;
  readonly block: boolean;
}

/** Nodes of the device's that a process has open. VFIO's own are not looked for: leaving VFIO has its own refusal. */
export const findOpenNodes: Finder = (ground) => {
  const nodes = nodesOf(ground);
  if (nodes.size === 0) return [];
  return [...holdersOf(ground, nodes)].flatMap(([node, holders]): readonly Lifeline[] => {
    const { name, departure, block } = node;
    if (HARMLESS.test(name)) return [];
    const more = holders.length > NAMED ? ` and ${holders.length - NAMED} more` : "";
    const message = `/dev/${name} of ${departure.place} is open in process ${holders.slice(0, NAMED).join(", ")}${more}`;
    return [{ kind: "open-node", device: departure.device, cuts: block || CUTTING.test(name), message }];
  });
};

/** By path in /dev. */
function nodesOf({ reader, departures }: Ground): ReadonlyMap<string, Node> {
  const nodes = new Map<string, Node>();
  for (const kind of ["block", "char"]) {
    for (const path of reader.targets(`/sys/dev/${kind}`).values()) {
      const departure = departures.of(path);
      const name = departure && /^DEVNAME=(.+)$/m.exec(reader.text(`${path}/uevent`) ?? "")?.[1];
      if (departure === undefined || name === undefined || name.startsWith("vfio/")) continue;
      nodes.set(`/dev/${name}`, { name, departure, block: kind === "block" });
    }
  }
  return nodes;
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

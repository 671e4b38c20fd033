import { IospanError } from "../errors.js";
import { kernelName, nearMisses } from "../machine/device-name.js";
import { baseName } from "../machine/sysfs.js";
import type { Topology, TopologyDevice, TopologyIommu } from "../topology/topology.js";
import { standsForFunctions } from "./pci-host.js";
import { functionBehind, placeOf } from "./requester-ids.js";
import { grouped } from "./survey-index.js";

const TREE_ROOTS = ["/sys/firmware/devicetree/base", "/proc/device-tree"];
const MOST_NAMES = 6;

/**
 * The device that somebody means. Understood are, in this order: paths in sysfs (also below /sys/devices), in a device tree and
 * in the topology; the kernel's name, in upper case, too, and of PCI functions without the domain; an alias of the device
 * tree; the node's name (`dma-port@a0000000`); and the name without its address (`dma-port`), where one device alone has it.
 * Where no kernel was looked at, a PCI function that firmware does not list is found behind the one host whose map has its
 * requester ID.
 * @throws IospanError `ERR_IOSPAN_NO_DEVICE` where there is none, with the names it may have been meant for; where there are
 * several; for an IOMMU; and for what a device tree has behind no IOMMU. `ERR_IOSPAN_INVALID_ARGUMENT` for what can name no device.
 */
export function findPlanned(topology: Topology, asked: string): TopologyDevice {
  const known = finders.get(topology) ?? new DeviceFinder(topology);
  finders.set(topology, known);
  return known.find(asked);
}

/** Making one takes longer than asking it a thousand times. */
const finders = new WeakMap<Topology, DeviceFinder>();

type Named<T> = ReadonlyMap<string, readonly T[]>;

class DeviceFinder {
  readonly #topology: Topology;
  /** From what is certain to what is a manner of speaking. */
  readonly #levels: readonly Named<TopologyDevice>[];
  readonly #iommus: Named<TopologyIommu>;
  readonly #hosts: readonly TopologyDevice[];

  constructor(topology: Topology) {
    this.#topology = topology;
    const { devices, iommus, sources } = topology;
    this.#levels = [paths, names, nodeNames, shortNames].map((keysOf) => grouped(devices, keysOf));
    this.#iommus = grouped(iommus, (iommu) => [
      ...new Set([
        ...paths(iommu),
        ...names(iommu),
        ...nodeNames(iommu),
        ...(iommu.device === undefined ? [] : [iommu.device]),
      ]),
    ]);
    // A kernel lists every function that there is.
    const isListed = sources.some(({ kind }) => kind === "sysfs");
    this.#hosts = isListed ? [] : devices.filter(standsForFunctions);
  }

  find(asked: string): TopologyDevice {
    const texts = this.#spellings(asked);
    for (const level of this.#levels) {
      const found = new Set(texts.flatMap((text) => level.get(text) ?? []));
      if (found.size === 1) return [...found][0] as TopologyDevice;
      if (found.size > 1) throw ambiguous(asked, [...found]);
    }
    return this.#functionNamed(texts) ?? this.#elsewhere(asked, texts);
  }

  /** What the text may stand for, in the spelling of names and paths; kernelName refuses what can be none. */
  #spellings(asked: string): readonly string[] {
    if (typeof asked !== "string" || asked === "") return [kernelName(asked)];
    const path = asked.startsWith("/") ? treePath(asked) : undefined;
    const alias = this.#topology.aliases?.get(asked.replace(/^&/, ""));
    // Names of ACPI's may have slashes in them.
    const own = path === undefined ? (asked.includes("/") ? [] : [kernelName(asked)]) : [path];
    const name = path?.startsWith("/sys/") ? [kernelName(path)] : [];
    return [
      ...new Set([asked, ...own, ...name, ...(alias === undefined ? [] : [alias])].map((each) => each.toLowerCase())),
    ];
  }

  /** A function that nobody lists, or the same address in another domain where the text had none. */
  #functionNamed(texts: readonly string[]): TopologyDevice | undefined {
    const place = texts.map(placeOf).find((each) => each !== undefined);
    if (place === undefined) return undefined;
    const hosts = this.#hosts.filter(({ domain }) => domain === undefined || domain === place.domain);
    // A host that says which domain it is goes before those that leave it to Linux.
    const certain = hosts.filter(({ domain }) => domain !== undefined);
    const found = (certain.length > 0 ? certain : hosts).flatMap((host) => functionBehind(host, place) ?? []);
    const [first] = found;
    if (found.length > 1) throw severalHosts(first?.name ?? "", found);
    return first;
  }

  #elsewhere(asked: string, texts: readonly string[]): never {
    const iommu = texts.flatMap((text) => this.#iommus.get(text) ?? [])[0];
    if (iommu !== undefined) throw this.#isIommu(asked, iommu);
    const { devices, others = [] } = this.#topology;
    const unguarded = grouped(others, nodeSpellings);
    const found = [...new Set(texts.flatMap((text) => unguarded.get(text) ?? []))];
    if (found.length > 0) throw behindNone(asked, found);
    const known = [...this.#levels.slice(1).flatMap((level) => [...level.keys()]), ...others.map(baseName)];
    const near = nearMisses(asked, [...new Set(known)]);
    const question = near.length === 0 ? "" : `; did you mean ${near.join(" or ")}?`;
    throw new IospanError("ERR_IOSPAN_NO_DEVICE", `there is no device ${asked}${question}`, {
      device: asked,
      hint:
        devices.length === 0
          ? "no devices are known: look at the sources"
          : `${listingCommand(this.#topology)} lists devices and IOMMUs`,
    });
  }

  #isIommu(asked: string, { name, path }: TopologyIommu): IospanError {
    const behind = this.#topology.devices.filter(({ links }) => links.some(({ iommu }) => iommu === path));
    return new IospanError("ERR_IOSPAN_NO_DEVICE", `${asked} is an IOMMU, and a plan is for devices behind one`, {
      iommu: name,
      hint: behind.length === 0 ? "nothing is behind it" : `behind it are ${listed(behind)}`,
    });
  }
}

interface Nameable {
  readonly path: string;
  readonly paths: TopologyDevice["paths"];
  readonly name: string;
}

const lower = (texts: readonly string[]) => [
  ...new Set(texts.filter((each) => each !== "").map((each) => each.toLowerCase())),
];

function paths({ path, paths: all }: Nameable): readonly string[] {
  return lower([path, ...Object.values(all)]);
}

function names({ name }: Nameable): readonly string[] {
  return lower([name]);
}

/** `dma-port@a0000000` of its path; in ACPI the last part of `\_SB_.PCI0.DEV0`. */
function nodeNames({ path, paths: all, name }: Nameable): readonly string[] {
  const nodes = [all["device-tree"], path].filter((each) => each !== undefined).map(baseName);
  return lower([...nodes, ...(name.startsWith("\\") ? [name.replace(/^.*[.\\]/, "")] : [])]);
}

/** `a0000000.dma-port` and `dma-port@a0000000` without the address; a PCI function without its domain. */
function shortNames(device: TopologyDevice): readonly string[] {
  const node = baseName(device.paths["device-tree"] ?? "").replace(/@.*$/, "");
  const pattern = device.bus === "pci" ? /^[0-9a-f]{4,8}:(.+)$/ : /^[0-9a-f]+\.(.+)$/;
  const [, kernels = ""] = pattern.exec(device.name) ?? [];
  return lower([node, kernels]);
}

/** A node's path, `i2c@fea90000`, `fea90000.i2c` (the kernel's name where its bus moves no addresses), and `i2c`. */
function nodeSpellings(path: string): readonly string[] {
  const node = baseName(path);
  const [short = "", address] = node.split("@", 2);
  return lower([path, node, short, ...(address === undefined ? [] : [`${address}.${short}`])]);
}

/** What shows the same sources. */
function listingCommand({ sources }: Topology): string {
  const [first] = sources;
  if (first === undefined || first.name === "/sys") return "iospan topology";
  if (first.kind === "sysfs") return `iospan topology, with ${first.name} as here,`;
  return `iospan topology ${first.kind === "device-tree" ? "-t" : "-i"} FILE`;
}

/** As the tree has it. */
function treePath(path: string): string {
  const root = TREE_ROOTS.find((each) => path === each || path.startsWith(`${each}/`));
  const plain = root === undefined ? path : path.slice(root.length);
  return plain.length > 1 ? plain.replace(/\/+$/, "") : "/";
}

function listed(devices: readonly TopologyDevice[]): string {
  const shown = devices
    .slice(0, MOST_NAMES)
    .map(({ name, paths: { "device-tree": node } }) => (node === undefined ? name : `${name} (${node})`));
  const more = devices.length - shown.length;
  return `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function behindNone(asked: string, nodes: readonly string[]): IospanError {
  const [first = ""] = nodes;
  const shown = nodes.slice(0, MOST_NAMES).join(", ");
  const several = `${asked} may be any of ${nodes.length} devices, and each is behind no IOMMU`;
  return new IospanError("ERR_IOSPAN_NO_DEVICE", nodes.length === 1 ? `${asked} is behind no IOMMU` : several, {
    device: asked,
    hint: `VFIO hands out what an IOMMU keeps to its memory: the device tree connects none with ${nodes.length === 1 ? first : `${shown}${nodes.length > MOST_NAMES ? ", …" : ""}`}`,
  });
}

function ambiguous(asked: string, devices: readonly TopologyDevice[]): IospanError {
  return new IospanError("ERR_IOSPAN_NO_DEVICE", `${asked} may be any of ${devices.length} devices`, {
    device: asked,
    hint: `name it in full: ${listed(devices)}`,
  });
}

function severalHosts(name: string, functions: readonly TopologyDevice[]): IospanError {
  const hosts = functions.map(({ host }) => host ?? "").slice(0, MOST_NAMES);
  return new IospanError(
    "ERR_IOSPAN_NO_DEVICE",
    `${name} may be behind any of ${functions.length} PCI hosts, which do not say their domain`,
    {
      device: name,
      hint: `name the host, which stands for what is behind it: ${hosts.join(", ")}`,
    },
  );
}

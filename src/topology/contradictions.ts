import type { ReservedRegion } from "../machine/machine.js";
import { choiceOf } from "./iommu-kind.js";
import type { Joined } from "./joined.js";
import type {
  Finding,
  IommuLink,
  SourceKind,
  Topology,
  TopologyDevice,
  TopologyGroup,
  TopologyIommu,
} from "./topology.js";

/** What two sources have in common. */
export interface Joins {
  readonly iommus: Joined<TopologyIommu>;
  readonly devices: Joined<TopologyDevice>;
}

/** A thing in both sources. */
type Pair = readonly [TopologyDevice, TopologyDevice];

/** Where two sources say different things of what is the same; the first is the kernel where one is. @internal */
export function contradictions(first: Topology, second: Topology, joins: Joins): readonly Finding[] {
  return new Comparison(first, second, joins).findings();
}

class Comparison {
  readonly #joins: Joins;
  readonly #firstSays: string;
  readonly #secondSays: string;
  /** By path, in either source. */
  readonly #known: ReadonlyMap<string, TopologyIommu>;
  readonly #groups: ReadonlyMap<number, TopologyGroup>;

  constructor(first: Topology, second: Topology, joins: Joins) {
    this.#joins = joins;
    [this.#firstSays, this.#secondSays] = [sayer(first), sayer(second)];
    this.#known = new Map([...second.iommus, ...first.iommus].map((iommu) => [iommu.path, iommu]));
    this.#groups = new Map(first.groups.map((group) => [group.number, group]));
  }

  findings(): readonly Finding[] {
    const { iommus, devices } = this.#joins;
    return [
      ...iommus.pairs.flatMap((pair) => this.#switchedOff(pair, "is in use by")),
      ...devices.pairs.flatMap((pair) => [
        ...this.#switchedOff(pair, "is there, says"),
        ...this.#elsewhere(pair),
        ...this.#notReserved(pair),
      ]),
    ];
  }

  #switchedOff([one, other]: readonly [Switchable, Switchable], how: string): readonly Finding[] {
    if (one.enabled === other.enabled) return [];
    const [on, off] = one.enabled ? [this.#firstSays, this.#secondSays] : [this.#secondSays, this.#firstSays];
    const why = (one.enabled ? other : one).disabledBecause;
    return [warning("enabled-differs", one.path, `${one.name} ${how} ${on}, and disabled by ${off} (${why})`)];
  }

  #elsewhere([one, other]: Pair): readonly Finding[] {
    if (other.isBus || one.paths.sysfs === undefined) return [];
    const listed = other.links.filter(({ via }) => via !== "iommu-map");
    const expected = other.links.filter(({ used }) => used === true).map(({ iommu }) => this.#pathOf(iommu));
    const real = one.links.find(({ via }) => via === "sysfs")?.iommu;
    if (real === undefined) return expected[0] === undefined ? [] : [this.#untranslated(one, expected[0])];
    if (listed.length > 1 && listed.some(({ iommu }) => this.#pathOf(iommu) === real)) {
      return [this.#severalIommus(one, listed, real)];
    }
    if (expected.length === 0 || expected.includes(real)) return [];
    const [here, there] = [this.#nameOf(real), this.#nameOf(expected[0] ?? "")];
    const text = `${one.name} is behind ${here}, says ${this.#firstSays}, and behind ${there}, says ${this.#secondSays}`;
    return [warning("iommu-differs", one.path, text)];
  }

  /** Of several that firmware lists the kernel links one: which, and whether that is what its driver is known to do. */
  #severalIommus(device: TopologyDevice, listed: readonly IommuLink[], real: string): Finding {
    const names = listed.map(({ iommu }) => this.#nameOf(this.#pathOf(iommu)));
    const index = listed.findIndex(({ iommu }) => this.#pathOf(iommu) === real);
    const choice = choiceOf(this.#known.get(real)?.kind ?? "other");
    const start = `${device.name} has several IOMMUs, says ${this.#secondSays}: ${names.join(", ")}; the kernel has it behind ${names[index]}`;
    const finding = (severity: Finding["severity"], rest: string): Finding => ({
      id: "several-iommus",
      severity,
      about: device.path,
      text: start + rest,
    });
    if (choice === undefined) return finding("warning", "");
    if (choice === "all") return finding("note", ", and its driver uses all of them, with one page table");
    const isAsKnown = choice !== "none" && index === (choice === "first" ? 0 : listed.length - 1);
    if (!isAsKnown)
      return finding("warning", `, where its driver is known to use ${choice === "none" ? choice : `the ${choice}`}`);
    const others = choice === "first" ? ", and gives it the IDs meant for the others as well" : "";
    return finding("warning", `, the ${choice}, as its driver does${others}: through the others its DMA does not come`);
  }

  /** Before Linux 6.15 a device joins its IOMMU when its first driver probes it. */
  #untranslated(device: TopologyDevice, iommu: string): Finding {
    const why =
      device.driver === null
        ? "it has no driver, and older kernels connect a device when one probes it"
        : "its driver runs without";
    return {
      id: "not-translated",
      severity: device.driver === null ? "note" : "warning",
      about: device.path,
      text: `${device.name} is behind ${this.#nameOf(iommu)}, says ${this.#secondSays}, and the kernel has it behind none: ${why}`,
    };
  }

  /** Of a group without any window nothing is concluded: its file may not have been readable. */
  #notReserved([one, other]: Pair): readonly Finding[] {
    const group = typeof one.group === "number" ? this.#groups.get(one.group) : undefined;
    if (group === undefined || group.reserved.length === 0) return [];
    return other.reserved
      .filter((region) => !covers(group.reserved, region))
      .map(({ start, end }) => {
        const range = `0x${start.toString(16)} to 0x${end.toString(16)}`;
        const text = `${this.#secondSays} keeps ${range} for ${one.name}, and the kernel does not reserve it in group ${group.number}`;
        return warning("reserved-differs", one.path, text);
      });
  }

  #pathOf(path: string): string {
    return this.#joins.iommus.pathOf(path);
  }

  #nameOf(path: string): string {
    return this.#known.get(path)?.name ?? path;
  }
}

type Switchable = Pick<TopologyDevice, "path" | "name" | "enabled" | "disabledBecause">;

/** Whether ranges, together, have all of another. */
function covers(ranges: readonly ReservedRegion[], { start, end }: ReservedRegion): boolean {
  let next = start;
  for (const range of [...ranges].sort((a, b) => (a.start < b.start ? -1 : 1))) {
    if (range.start <= next && range.end >= next) next = range.end + 1n;
  }
  return next > end;
}

function warning(id: string, about: string, text: string): Finding {
  return { id, severity: "warning", about, text };
}

const WORDS: Readonly<Record<SourceKind, string>> = {
  sysfs: "the kernel",
  "device-tree": "the device tree",
  iort: "the IORT",
  dmar: "the DMAR table",
  ivrs: "the IVRS table",
};

function sayer({ sources }: Topology): string {
  return WORDS[sources.at(0)?.kind ?? "sysfs"];
}

import { checked } from "./check.js";
import { joinLinks } from "./join-links.js";
import { resolveFunctions } from "./resolve-functions.js";
import type { Finding, SourceKind, Topology, TopologyDevice, TopologyIommu } from "./topology.js";

/**
 * Makes one topology of what several sources say of one machine. A thing is one where sources call it the same: the path
 * in the device tree (sysfs knows it), an IOMMU's address, a device's name on its bus. What the first source that knows
 * says is taken, so that the kernel's sysfs goes before firmware; where they contradict each other there is a finding.
 * @param topologies sysfs first.
 */
export function mergeTopologies(topologies: readonly Topology[]): Topology {
  const [first, ...others] = topologies;
  if (first === undefined) return NOTHING;
  if (others.length === 0) return first;
  return checked(resolveFunctions(others.reduce(mergeTwo, first)));
}

const NOTHING: Topology = {
  sources: [],
  iommus: [],
  groups: [],
  devices: [],
  engines: [],
  memory: undefined,
  findings: [],
};

function mergeTwo(first: Topology, second: Topology): Topology {
  const iommus = new Joined(first.iommus, second.iommus, sameIommu, joinIommus);
  const devices = new Joined(first.devices, second.devices, sameDevice, (a, b) =>
    joinDevices(a, withPaths(b, iommus.pathOf)),
  );
  const added = devices.items.map((device) => withPaths(device, iommus.pathOf));
  const renamed = (finding: Finding): Finding => {
    const { about } = finding;
    return about === undefined ? finding : { ...finding, about: iommus.pathOf(devices.pathOf(about)) };
  };
  const both = { sources: [...first.sources, ...second.sources], iommus: iommus.items, devices: added };
  return {
    ...both,
    groups: [...first.groups, ...second.groups],
    engines: [...first.engines, ...second.engines].map(({ name, interfaces }) => ({
      name,
      interfaces: interfaces.map(devices.pathOf),
    })),
    memory: first.memory ?? second.memory,
    findings: [
      ...first.findings,
      ...second.findings.map(renamed),
      ...contradictions(first, second, { iommus, devices }),
    ],
  };
}

/** Two lists as one. */
class Joined<T extends { readonly path: string }> {
  readonly items: readonly T[];
  readonly pairs: readonly (readonly [T, T])[];
  readonly #paths = new Map<string, string>();

  constructor(
    first: readonly T[],
    second: readonly T[],
    keysOf: (item: T) => readonly string[],
    join: (a: T, b: T) => T,
  ) {
    const byKey = new Map<string, T>();
    for (const item of first) for (const key of keysOf(item)) if (!byKey.has(key)) byKey.set(key, item);
    const partners = new Map<T, T>();
    const alone: T[] = [];
    for (const item of second) {
      const partner = keysOf(item)
        .map((key) => byKey.get(key))
        .find((each) => each !== undefined);
      if (partner === undefined || partners.has(partner)) alone.push(item);
      else {
        partners.set(partner, item);
        this.#paths.set(item.path, partner.path);
      }
    }
    this.pairs = [...partners];
    this.items = [
      ...first.map((item) => {
        const partner = partners.get(item);
        return partner === undefined ? item : join(item, partner);
      }),
      ...alone,
    ];
  }

  /** What the second list's path has become. */
  readonly pathOf = (path: string): string => this.#paths.get(path) ?? path;
}

function sameIommu({ paths, addresses, name }: TopologyIommu): readonly string[] {
  const [address] = addresses;
  return [...pathKeys(paths), ...(address === undefined ? [] : [`at ${address}`]), `name ${name}`];
}

function sameDevice({ paths, bus, name }: TopologyDevice): readonly string[] {
  return [...pathKeys(paths), `${bus} ${name}`];
}

function pathKeys(paths: TopologyDevice["paths"]): readonly string[] {
  return paths["device-tree"] === undefined ? [] : [`tree ${paths["device-tree"]}`];
}

function joinIommus(a: TopologyIommu, b: TopologyIommu): TopologyIommu {
  return {
    ...a,
    paths: { ...b.paths, ...a.paths },
    kind: a.kind === "other" ? b.kind : a.kind,
    compatible: a.compatible.length > 0 ? a.compatible : b.compatible,
    addresses: a.addresses.length > 0 ? a.addresses : b.addresses,
  };
}

function joinDevices(a: TopologyDevice, b: TopologyDevice): TopologyDevice {
  return {
    ...a,
    paths: { ...b.paths, ...a.paths },
    isBus: a.isBus || b.isBus,
    driver: a.driver === undefined ? b.driver : a.driver,
    group: a.group === undefined ? b.group : a.group,
    pci: a.pci ?? b.pci,
    requesterId: a.requesterId ?? b.requesterId,
    host: a.host ?? b.host,
    domain: a.domain ?? b.domain,
    compatible: a.compatible.length > 0 ? a.compatible : b.compatible,
    links: joinLinks(a.links, b.links),
    reserved: a.reserved.length > 0 ? a.reserved : b.reserved,
  };
}

function withPaths(device: TopologyDevice, pathOf: (path: string) => string): TopologyDevice {
  const links = device.links.map((link) => ({ ...link, iommu: pathOf(link.iommu) }));
  return { ...device, links };
}

interface Joins {
  readonly iommus: Joined<TopologyIommu>;
  readonly devices: Joined<TopologyDevice>;
}

/** Where the sources say different things of what is the same. */
function contradictions(first: Topology, second: Topology, { iommus, devices }: Joins): readonly Finding[] {
  const [a, b] = [kindOf(first), kindOf(second)];
  const names = new Map([...first.iommus, ...second.iommus].map(({ path, name }) => [path, name]));
  const off = iommus.pairs
    .filter(([one, other]) => one.enabled !== other.enabled)
    .map(([one, other]) => {
      const [on, not] = one.enabled ? [a, b] : [b, a];
      const why = (one.enabled ? other : one).disabledBecause;
      return warning("enabled-differs", one.path, `${one.name} is in use by ${on} and disabled by ${not} (${why})`);
    });
  const elsewhere = devices.pairs.flatMap(([one, other]) => {
    const expected = other.links.filter(({ used }) => used === true).map(({ iommu }) => iommus.pathOf(iommu));
    const real = one.links.find(({ via }) => via === "sysfs")?.iommu;
    if (other.isBus || expected.length === 0 || one.paths.sysfs === undefined) return [];
    if (real === undefined) return [untranslated(one, b, names.get(expected[0] ?? "") ?? "")];
    if (expected.includes(real)) return [];
    const text = `${one.name} is behind ${names.get(real)}, says ${a}, and behind ${names.get(expected[0] ?? "")}, says ${b}`;
    return [warning("iommu-differs", one.path, text)];
  });
  return [...off, ...elsewhere];
}

/** Up to Linux 6.12 a device joins its IOMMU when its first driver probes it. */
function untranslated(device: TopologyDevice, source: string, iommu: string): Finding {
  const why =
    device.driver === null
      ? "it has no driver, and older kernels connect a device when one probes it"
      : "its driver runs without";
  return {
    id: "not-translated",
    severity: device.driver === null ? "note" : "warning",
    about: device.path,
    text: `${device.name} is behind ${iommu}, says ${source}, and the kernel has it behind none: ${why}`,
  };
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

function kindOf({ sources }: Topology): string {
  return WORDS[sources.at(0)?.kind ?? "sysfs"];
}

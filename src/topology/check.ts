import { choiceOf } from "./iommu-kind.js";
import type { Finding, IommuLink, Topology, TopologyDevice, TopologyIommu } from "./topology.js";

/** How many names a finding lists before it counts the rest. */
const MOST_NAMES = 4;

/** The topology with what there is to say about it added to its findings. @internal */
export function checked(topology: Topology): Topology {
  const iommus = new Map(topology.iommus.map((iommu) => [iommu.path, iommu]));
  const findings = [
    ...topology.findings,
    ...topology.devices.flatMap((device) => [
      ...severalIommus(device, iommus),
      ...ownAndOthers(device, iommus),
      ...disabledIommu(device, iommus),
      ...oddRows(device),
    ]),
    ...sharedIds(topology, iommus),
  ];
  const known = new Set<string>();
  return { ...topology, findings: findings.filter(({ id, text }) => !known.has(id + text) && known.add(id + text)) };
}

/** Ways of saying which IDs devices on a bus have, not the bus itself: a root complex has an IOMMU for each range of them. */
const OF_OTHERS: readonly string[] = ["iommu-map", "iort", "dmar", "ivrs"];

const ownLinksOf = ({ links, isBus }: TopologyDevice) =>
  links.filter(({ via }) => via !== "iommu-map" && !(isBus && OF_OTHERS.includes(via)));

function severalIommus(device: TopologyDevice, iommus: ReadonlyMap<string, TopologyIommu>): readonly Finding[] {
  const own = ownLinksOf(device);
  // The kernel has decided; what firmware lists was looked at before it was merged with that.
  if (own.some(({ via }) => via === "sysfs")) return [];
  const known = [...new Set(own.map(({ iommu }) => iommu))].flatMap((path) => iommus.get(path) ?? []);
  if (known.length < 2 || !device.enabled) return [];
  const text = `${device.name} has several IOMMUs: ${listed(known.map(({ name }) => name))}; ${whatLinuxDoes(own, known)}`;
  // Only where all are used does the device see the same memory through each.
  const severity = known.every(({ path }) => own.some((link) => link.iommu === path && link.used)) ? "note" : "warning";
  return [{ id: "several-iommus", severity, about: device.path, text }];
}

/** A device that does DMA itself and has others on it, each with their own way. */
function ownAndOthers(device: TopologyDevice, iommus: ReadonlyMap<string, TopologyIommu>): readonly Finding[] {
  if (!device.enabled || device.links.every(({ via }) => via !== "iommu-map")) return [];
  const own = new Set(ownLinksOf(device).map(({ iommu }) => iommu));
  const mapped = new Set(device.links.filter(({ via }) => via === "iommu-map").map(({ iommu }) => iommu));
  const others = [...mapped].filter((each) => !own.has(each));
  if (own.size === 0 || others.length === 0) return [];
  const names = (paths: Iterable<string>) => listed(Array.from(paths, (path) => iommus.get(path)?.name ?? path));
  const text = `${device.name} itself is behind ${names(own)}, what is on it behind ${names(mapped)}`;
  return [{ id: "own-and-others", severity: "note", about: device.path, text }];
}

function whatLinuxDoes(links: readonly IommuLink[], iommus: readonly TopologyIommu[]): string {
  const off = iommus.find(({ enabled }) => !enabled);
  if (off !== undefined) return `Linux uses none of them, since ${off.name} is disabled`;
  const kinds = [...new Set(iommus.map(({ kind }) => kind))];
  if (kinds.length > 1 && !kinds.includes("other")) {
    return `Linux refuses that they have different drivers (${kinds.join(", ")}), and uses none`;
  }
  const [kind = "other"] = kinds;
  const used = iommus.filter(({ path }) => links.some((link) => link.iommu === path && link.used === true));
  switch (choiceOf(kind)) {
    case "first":
      return `Linux's driver uses the first, ${used[0]?.name}, and gives it the IDs meant for the others as well`;
    case "last":
      return `Linux's driver uses the last, ${used[0]?.name}`;
    case "all":
      return "Linux's driver uses all of them, with one page table";
    case "none":
      return "Linux's driver refuses more than one, and uses none";
    case undefined:
      return "which of them Linux uses is not known";
  }
}

function disabledIommu(device: TopologyDevice, iommus: ReadonlyMap<string, TopologyIommu>): readonly Finding[] {
  if (!device.enabled) return [];
  const off = device.links.flatMap(({ iommu }) => iommus.get(iommu) ?? []).filter(({ enabled }) => !enabled);
  return off.slice(0, 1).map(({ name, disabledBecause }) => ({
    id: "disabled-iommu",
    severity: "warning",
    about: device.path,
    text: `${device.name} is enabled and behind ${name}, which is not (${disabledBecause}): nothing translates its DMA`,
  }));
}

/** Rows of an `iommu-map` that map nothing, or not what they seem to. */
function oddRows(device: TopologyDevice): readonly Finding[] {
  const rows = device.links
    .filter(({ via }) => via === "iommu-map")
    .flatMap(({ ids, mask }) => ids.map((id) => ({ id, mask })));
  const finding = (id: string, text: string): Finding => ({ id, severity: "note", about: device.path, text });
  return rows.flatMap(({ id: { count, input = 0, rest = [] }, mask = 0xffff_ffff }) => {
    const row = `${device.name}: the iommu-map row for 0x${input.toString(16)}`;
    if (count === 0) return [finding("empty-map-row", `${row} has length 0 and maps nothing`)];
    if ((input & ~mask) !== 0)
      return [finding("masked-map-row", `${row} lies outside iommu-map-mask; Linux refuses the map`)];
    if (mask === 0 && count > 1) {
      return [finding("masked-map-row", `${row} has ${count} IDs, and iommu-map-mask 0 makes them all one`)];
    }
    if (rest.length > 0 && count > 1) {
      return [finding("wide-map-row", `${row} has ${count} IDs with more than one cell each, which Linux refuses`)];
    }
    return [];
  });
}

/** Devices with one ID at one IOMMU are one for it. Those that are off do not count. */
function sharedIds({ devices }: Topology, iommus: ReadonlyMap<string, TopologyIommu>): readonly Finding[] {
  const owners = new Map<string, { readonly iommu: string; readonly id: number; readonly names: string[] }>();
  for (const device of devices.filter(({ enabled }) => enabled)) {
    for (const { iommu, ids } of ownLinksOf(device)) {
      for (const { first, rest = [] } of ids) {
        const key = [iommu, first, ...rest].join(" ");
        const entry = owners.get(key) ?? { iommu, id: first, names: [] };
        entry.names.push(device.name);
        owners.set(key, entry);
      }
    }
  }
  return [...owners.values()].filter(({ names }) => names.length > 1).map((entry) => sharedId(entry, iommus));
}

function sharedId(
  { iommu, id, names }: { readonly iommu: string; readonly id: number; readonly names: readonly string[] },
  iommus: ReadonlyMap<string, TopologyIommu>,
): Finding {
  const where = `ID 0x${id.toString(16)} at ${iommus.get(iommu)?.name ?? iommu}`;
  const distinct = [...new Set(names)];
  const [first = ""] = distinct;
  if (distinct.length === 1) {
    return { id: "repeated-id", severity: "note", about: iommu, text: `${first} lists ${where} twice or more` };
  }
  const text = `${listed(distinct)} share ${where}: the IOMMU cannot tell them apart`;
  return { id: "shared-id", severity: "note", about: iommu, text };
}

/** `a, b and c`; of a long list the first, and how many more. */
function listed(names: readonly string[]): string {
  const shown =
    names.length > MOST_NAMES ? [...names.slice(0, MOST_NAMES), `${names.length - MOST_NAMES} more`] : names;
  return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
}

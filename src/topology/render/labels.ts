import { kindText } from "../iommu-kind.js";
import type { IdRange, Topology, TopologyDevice, TopologyIommu, TopologyMemory } from "../topology.js";
import type { Bunch } from "./bunches.js";
import { type Drawn, isBridge } from "./drawn.js";
import type { GraphKind } from "./graph.js";

/** IDs that an edge shows. */
const MOST_IDS = 3;
/** Names that a bunch shows. */
const MOST_NAMES = 3;

/** What a device's box says besides its name. */
export interface BoxContext {
  readonly kind: GraphKind;
  /** Its group, where that is no box around it. */
  readonly group: number | undefined;
  /** The engine that it is an interface of, where that is no box around it. */
  readonly partOf: string | undefined;
}

/** What a device is, below its name. @internal */
export function deviceFacts(device: TopologyDevice, { kind, group, partOf }: BoxContext): readonly string[] {
  const { bus, pci, driver, disabledBecause } = device;
  const place = bus === "pci" ? "PCIe" : bus;
  const what = kind === "interface" ? `${place} interface` : kind === "bus" ? hostText(device) : place;
  const part = partOf === undefined ? "" : ` of ${partOf}`;
  const ids = pci === undefined ? "" : `, ${hex4(pci.vendor)}:${hex4(pci.device)}`;
  const driven = [
    ...(driver === undefined || kind === "bus" ? [] : [driver ?? "no driver"]),
    ...(group === undefined ? [] : [`group ${group}`]),
  ];
  const off = disabledBecause === undefined ? [] : [`off: ${disabledBecause}`];
  return [`${what}${part}${ids}`, ...(driven.length > 0 ? [driven.join(", ")] : []), ...off];
}

/** A bus that PCI functions are on, or another that has IDs for what is on it; on PCI a bridge, or a range of IDs. */
function hostText({ compatible, name, domain, bus, links, paths }: TopologyDevice): string {
  if (bus === "pci") {
    return links.some(({ ids }) => ids.some(({ count }) => count > 1)) ? "PCIe functions" : "PCIe, with all behind it";
  }
  if (paths.dmar !== undefined) return "PCIe";
  return domain !== undefined || /pci/.test([name, ...compatible].join(" ")) ? "PCIe root complex" : "bus";
}

/** `24 PCIe devices`. @internal */
export function bunchName(bunch: Bunch): string {
  return `${bunch.length} ${bunch[0].bus === "pci" ? "PCIe" : bunch[0].bus} devices`;
}

/** Their driver, where it is one, and the first names. @internal */
export function bunchFacts(bunch: Bunch): readonly string[] {
  const drivers = [...new Set(bunch.map(({ driver }) => (driver === null ? "no driver" : driver)))];
  const known = drivers.flatMap((each) => each ?? []);
  const driven = known.length === 0 ? [] : [known.length > 2 ? `${known.length} drivers` : known.join(", ")];
  const names = bunch.slice(0, MOST_NAMES).map(({ name }) => name);
  return [...driven, ...names, ...(bunch.length > MOST_NAMES ? [`and ${bunch.length - MOST_NAMES} more`] : [])];
}

/** @internal */
export function iommuFacts({ kind, disabledBecause }: TopologyIommu): readonly string[] {
  return [kindText(kind), ...(disabledBecause === undefined ? [] : [`off: ${disabledBecause}`])];
}

/** `StreamID 0x42`, `IDs 0x0 to 0xffff`. @internal */
export function idLabel(ids: readonly IdRange[], iommu: TopologyIommu | undefined): string {
  if (ids.length === 0) return "";
  const noun = iommu?.kind === "arm,smmu-v3" || iommu?.kind === "arm,smmu" ? "StreamID" : "ID";
  const shown = ids.slice(0, MOST_IDS).map(({ first, count }) => {
    const hex = `0x${first.toString(16)}`;
    return count > 1 ? `${hex} to 0x${(first + count - 1).toString(16)}` : hex;
  });
  const isOne = ids.length === 1 && ids[0]?.count === 1;
  return `${noun}${isOne ? "" : "s"} ${shown.join(", ")}${ids.length > MOST_IDS ? ", …" : ""}`;
}

/** @internal */
export function memoryFacts(memory: readonly TopologyMemory[] | undefined): readonly string[] {
  const size = memory?.reduce((sum, each) => sum + each.size, 0n) ?? 0n;
  return size > 0n ? [sizeText(size)] : [];
}

/** What there is, and what is not drawn. @internal */
export function subtitleOf({ devices, iommus }: Topology, drawn: Drawn): string {
  const shown = new Set(drawn.devices.map(({ path }) => path));
  const left = devices.filter(({ path }) => !shown.has(path));
  const outside = left.filter(({ links }) => links.length === 0).length;
  const off = left.filter(({ links, enabled }) => links.length > 0 && !enabled).length;
  const bridges = left.filter((device) => device.links.length > 0 && device.enabled && isBridge(device)).length;
  const others = left.length - outside - off - bridges;
  const idle = iommus.length - drawn.iommus.length;
  const notShown = [
    ...(idle > 0 ? [counted(idle, "IOMMU")] : []),
    ...(off > 0 ? [`${off} switched off`] : []),
    ...(bridges > 0 ? [counted(bridges, "bridge")] : []),
    ...(others > 0 ? [counted(others, "ID range")] : []),
    ...(outside > 0 ? [`${outside} behind no IOMMU`] : []),
  ];
  const rest = notShown.length > 0 ? `; not shown: ${notShown.join(", ")}` : "";
  return `${counted(iommus.length, "IOMMU")}, ${counted(devices.length, "device")}${rest}`;
}

/** `1 device`, `2 devices`. @internal */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function hex4(value: number): string {
  return value.toString(16).padStart(4, "0");
}

/** `4 GiB`, `1.5 GiB`. */
function sizeText(size: bigint): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const unit = Math.min(units.length - 1, Math.floor((size.toString(2).length - 1) / 10));
  return `${Number((Number(size) / 1024 ** unit).toPrecision(3))} ${units[unit]}`;
}

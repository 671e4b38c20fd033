import type { IommuLink, Topology, TopologyDevice, TopologyIommu } from "../../topology/topology.js";
import { faint, good, type Line, line, name, notice, type Span } from "../text/line.js";
import { counted } from "../text/quantity.js";
import { lineWidth, padEnd, shorten, widthOf } from "../text/width.js";

/** Columns that names are given at most; what follows would have no room. */
export const MOST_NAME = 34;
const MOST_IDS = 2;
const SEPARATOR = "  ";

/** What a device's line needs to know of its surroundings. */
export interface LineContext {
  readonly topology: Topology;
  /** Columns that the names of all on this level take. */
  readonly nameWidth: number;
  /** The IOMMU it is shown under; the line names its IOMMUs where there is none. */
  readonly under?: TopologyIommu | undefined;
  /** Columns that the groups' numbers take, with the word before them. */
  readonly groupWidth?: number | undefined;
  /** Whether there is room, in so many columns after the name, for what PCI functions say they are: on this level or not at all. */
  readonly hasRoomForIds: (width: number, context: LineContext) => boolean;
  /** It is shown under its bus. */
  readonly isUnderBus?: boolean | undefined;
}

/** Name, bus, driver, IDs, and what is peculiar about a device, in as many columns as there are. */
export function deviceLine(device: TopologyDevice, context: LineContext, width: number): Line {
  const most = Math.min(context.nameWidth, MOST_NAME, width);
  const pieces: Span[] = [name(padEnd(shorten(device.name, most), most))];
  for (const piece of fitting(device, context, width - most)) {
    const left = width - lineWidth(pieces) - SEPARATOR.length;
    // What only explains is left out rather than cut to pieces.
    if (left < (piece.style === "faint" ? widthOf(piece.text) : Math.min(8, widthOf(piece.text)))) continue;
    pieces.push({ text: SEPARATOR, style: "plain" }, { ...piece, text: shorten(piece.text, left) });
  }
  return line(...pieces);
}

/** Without what PCI functions say they are where there is no room for it beside the rest. */
function fitting(device: TopologyDevice, context: LineContext, width: number): readonly Span[] {
  const shown = device.pci === undefined || context.hasRoomForIds(width, context);
  return details(shown ? device : { ...device, pci: undefined }, context);
}

/** Looks once for each width: a level may have thousands of devices. */
export function roomForIds(devices: readonly TopologyDevice[]): LineContext["hasRoomForIds"] {
  // Why a device is off is cut where it must be, and nothing is left out for it.
  const asking = devices.filter(({ pci, enabled }) => pci !== undefined && enabled);
  const known = new Map<number, boolean>();
  return (width, context) => {
    const fits = known.get(width) ?? asking.every((device) => columnsOf(details(device, context)) <= width);
    known.set(width, fits);
    return fits;
  };
}

function columnsOf(pieces: readonly Span[]): number {
  return pieces.reduce((sum, { text }) => sum + SEPARATOR.length + widthOf(text), 0);
}

function details(device: TopologyDevice, { topology, under, isUnderBus }: LineContext): readonly Span[] {
  const { bus, isBus, driver, enabled, disabledBecause, links, pci, reserved } = device;
  const link = links.find(({ iommu }) => iommu === under?.path);
  const pieces: Span[] = isUnderBus === true ? [] : [faint((bus === "pci" ? "PCIe" : bus).padEnd("platform".length))];
  if (pci !== undefined) pieces.push(faint([pci.vendor, pci.device].map((each) => hex4(each)).join(":")));
  if (driver !== undefined) pieces.push(driver === null ? faint("no driver") : good(driver));
  if (isBus && busText(device) !== "") pieces.push(faint(busText(device)));
  if (!enabled) pieces.push(notice(offText(disabledBecause)));
  else if (link?.used === false) pieces.push(notice("not used by Linux"));
  const ids = link === undefined ? "" : idText(link);
  if (ids !== "") pieces.push(faint(ids));
  if (under === undefined) pieces.push(...iommuNames(links, topology));
  const engine = topology.engines.find(({ interfaces }) => interfaces.includes(device.path));
  if (engine !== undefined) pieces.push(faint(`part of ${engine.name}`));
  if (reserved.length > 0) pieces.push(faint(`${counted(reserved.length, "range")} reserved`));
  return pieces;
}

/** What it stands for besides itself; empty where its name says so (`PCI segment 0000, the rest`). */
function busText({ bus, domain, compatible, name: own, links, paths }: TopologyDevice): string {
  if (bus === "pci") return links.some(({ ids }) => ids.some(({ count }) => count > 1)) ? "" : "with all behind it";
  if (paths.dmar !== undefined) return "";
  return domain !== undefined || /pci/.test([own, ...compatible].join(" ")) ? "PCI host" : "a bus";
}

/** Why something is off, in few words. */
export function offText(because: string | undefined): string {
  return `off: ${because?.replace(/^its status is /, "") ?? "disabled"}`;
}

function hex4(value: number): string {
  return value.toString(16).padStart(4, "0");
}

function iommuNames(links: readonly IommuLink[], { iommus }: Topology): readonly Span[] {
  return links.map(({ iommu }) => name(iommus.find(({ path }) => path === iommu)?.name ?? iommu));
}

/** `ID 0x42`, `IDs 0x0 to 0xffff`; masks and such behind a slash. */
function idText({ ids }: IommuLink): string {
  if (ids.length === 0) return "";
  const shown = ids.slice(0, MOST_IDS).map(({ first, count, rest = [] }) => {
    const start = [first, ...rest].map((each) => `0x${each.toString(16)}`).join("/");
    return count > 1 ? `${start} to 0x${(first + count - 1).toString(16)}` : start;
  });
  const more = ids.length > MOST_IDS ? `, ${ids.length - MOST_IDS} more` : "";
  const isOne = ids.length === 1 && ids[0]?.count === 1;
  return `${isOne ? "ID" : "IDs"} ${shown.join(", ")}${more}`;
}

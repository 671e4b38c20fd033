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
}

/** Name, bus, driver, IDs, and what is peculiar about a device, in as many columns as there are. */
export function deviceLine(device: TopologyDevice, context: LineContext, width: number): Line {
  const most = Math.min(context.nameWidth, MOST_NAME, width);
  const pieces: Span[] = [name(padEnd(shorten(device.name, most), most))];
  for (const piece of details(device, context)) {
    const left = width - lineWidth(pieces) - SEPARATOR.length;
    if (left < Math.min(8, widthOf(piece.text))) break;
    pieces.push({ text: SEPARATOR, style: "plain" }, { ...piece, text: shorten(piece.text, left) });
  }
  return line(...pieces);
}

function details(device: TopologyDevice, { topology, under }: LineContext): readonly Span[] {
  const { bus, isBus, driver, enabled, disabledBecause, links, pci, reserved } = device;
  const link = links.find(({ iommu }) => iommu === under?.path);
  const pieces: Span[] = [faint((bus === "pci" ? "PCIe" : bus).padEnd("platform".length))];
  if (pci !== undefined) pieces.push(faint([pci.vendor, pci.device].map((each) => hex4(each)).join(":")));
  if (driver !== undefined) pieces.push(driver === null ? faint("no driver") : good(driver));
  if (isBus) pieces.push(faint("a bus"));
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

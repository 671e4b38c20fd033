import type { ReservedRegion } from "../../machine/machine.js";
import type {
  Finding,
  SourceKind,
  Topology,
  TopologyDevice,
  TopologyGroup,
  TopologyIommu,
} from "../../topology/topology.js";
import { faint, type Line, line, name, notice, strong, WIDTH } from "../text/line.js";
import { bytes, counted, listed } from "../text/quantity.js";
import { shorten, widthOf } from "../text/width.js";
import { wrap } from "../text/wrap.js";
import { deviceLine, type LineContext, offText, roomForIds } from "./device-line.js";
import type { Order } from "./options.js";
import { drawTree, type TreeItem } from "./tree.js";

/** Findings of one kind that are all shown. */
const MOST_ALIKE = 3;
/** Devices that are switched off, on one IOMMU or bus, that are all shown. */
const MOST_OFF = 2;

const SOURCES: Readonly<Record<SourceKind, string>> = {
  sysfs: "sysfs",
  "device-tree": "device tree",
  iort: "ACPI IORT",
  dmar: "ACPI DMAR",
  ivrs: "ACPI IVRS",
};

/** How {@link renderTopology} shows it. */
export interface TreeOptions {
  readonly by: Order;
  /** Also what is switched off, one by one, and each of many findings. */
  readonly all?: boolean | undefined;
}

/** A topology for people: where it comes from, the tree, and what was found. */
export function renderTopology(topology: Topology, { by, all = false }: TreeOptions): readonly Line[] {
  const reserved = new Map(topology.groups.map((group) => [group.number, reservedText(group)]));
  const common = commonText(reserved);
  if (common !== "") reserved.clear();
  return [
    ...header(topology, common),
    ...drawTree(new TreeBuilder(topology, all, reserved).items(by), WIDTH),
    ...footer(topology, by),
    ...renderFindings(topology.findings, all),
  ];
}

/** Where a topology comes from. */
export function sourceLines({ sources }: Topology): readonly Line[] {
  const from = sources.map(({ kind, name: file }) => (kind === "sysfs" ? file : `${file} (${SOURCES[kind]})`));
  return wrap(line(strong(listed(from))), WIDTH, 2);
}

function header(topology: Topology, reserved: string): readonly Line[] {
  const { sources, iommus, devices, memory } = topology;
  const live = sources.some(({ kind }) => kind === "sysfs");
  const unknown = live ? "" : "; groups and drivers are unknown";
  const size = memory?.reduce((sum, each) => sum + each.size, 0n) ?? 0n;
  const facts = [
    counted(iommus.length, "IOMMU"),
    counted(devices.length, "device"),
    ...(size > 0n ? [`${bytes(Number(size))} of memory`] : []),
  ];
  return [
    ...sourceLines(topology),
    ...wrap(line(faint(`${facts.join(", ")}${unknown}`)), WIDTH, 2),
    ...(reserved === "" ? [] : wrap(line(faint(`reserved in every group: ${reserved}`)), WIDTH, 2)),
  ];
}

/** What all groups reserve alike, which is then said once; empty where they differ, or are few. */
function commonText(reserved: ReadonlyMap<number, string>): string {
  const texts = new Set(reserved.values());
  const [text = ""] = texts;
  return texts.size === 1 && reserved.size > 1 ? text : "";
}

function reservedText({ reserved }: TopologyGroup): string {
  return reserved.map(regionText).join(", ");
}

/** What is not in the tree. */
function footer({ devices }: Topology, order: Order): readonly Line[] {
  const outside = devices.filter(({ links }) => links.length === 0).length;
  if (order !== "iommu" || outside === 0) return [];
  return wrap(line(faint(`and ${counted(outside, "device")} behind no IOMMU: --by bus shows them`)), WIDTH, 2);
}

function renderFindings(findings: readonly Finding[], all: boolean): readonly Line[] {
  if (findings.length === 0) return [];
  const ordered = [...findings].sort((a, b) => Number(b.severity === "warning") - Number(a.severity === "warning"));
  const kinds = new Map<string, Finding[]>();
  for (const each of ordered)
    kinds.set(`${each.severity} ${each.id}`, [...(kinds.get(`${each.severity} ${each.id}`) ?? []), each]);
  const lines = [...kinds.values()].flatMap((alike) => {
    const shown = all || alike.length <= MOST_ALIKE ? alike : alike.slice(0, MOST_ALIKE - 1);
    const rest = alike.length - shown.length;
    return [
      ...shown.flatMap(findingLines),
      ...(rest > 0 ? [line(faint(`    and ${rest} more like these: --all shows them`))] : []),
    ];
  });
  return [[], line(strong("Findings")), ...lines];
}

function findingLines({ severity, text }: Finding): readonly Line[] {
  const mark = severity === "warning" ? notice("  ! ") : faint("  - ");
  return wrap(line(mark, text), WIDTH, 4);
}

class TreeBuilder {
  readonly #topology: Topology;
  /** By number of the group. */
  readonly #reserved: ReadonlyMap<number, string>;
  readonly #all: boolean;

  constructor(topology: Topology, all: boolean, reserved: ReadonlyMap<number, string>) {
    this.#topology = topology;
    this.#all = all;
    this.#reserved = reserved;
  }

  items(order: Order): readonly TreeItem[] {
    switch (order) {
      case "iommu":
        return this.#byIommu();
      case "group":
        return this.#byGroup(this.#topology.devices, undefined);
      case "bus":
        return this.#byBus();
    }
    order satisfies never;
  }

  #byIommu(): readonly TreeItem[] {
    const behind = new Map<string, TopologyDevice[]>();
    for (const device of this.#topology.devices) {
      for (const iommu of new Set(device.links.map((link) => link.iommu))) {
        const list = behind.get(iommu);
        if (list === undefined) behind.set(iommu, [device]);
        else list.push(device);
      }
    }
    return this.#topology.iommus.map((iommu) => ({
      line: (width) => iommuLine(iommu, width),
      children: this.#byGroup(behind.get(iommu.path) ?? [], iommu),
    }));
  }

  /** Groups of which the kernel tells; devices of which nobody knows a group stand by themselves. */
  #byGroup(devices: readonly TopologyDevice[], under: TopologyIommu | undefined): readonly TreeItem[] {
    const groups = new Map<number, TopologyDevice[]>();
    const loose: TopologyDevice[] = [];
    for (const device of devices) {
      if (typeof device.group !== "number") loose.push(device);
      else groups.set(device.group, [...(groups.get(device.group) ?? []), device]);
    }
    const grouped = [...groups.values()].flat();
    // Not by Math.max: a machine can have more groups than a call has room for arguments.
    const highest = [...groups.keys()].reduce((most, number) => Math.max(most, number), 0);
    const context = { ...this.#context(grouped, under), groupWidth: `group ${highest}`.length };
    const items = [...groups]
      .sort(([a], [b]) => a - b)
      .map(([number, members]) => this.#group(number, members, context));
    const outside = under === undefined ? loose.filter(({ links }) => links.length > 0) : loose;
    return [...items, ...this.#devices(outside, this.#context(outside, under))];
  }

  /** A group of one is one line with its device. */
  #group(number: number, members: readonly TopologyDevice[], context: LineContext): TreeItem {
    const [device, ...more] = members;
    const title = `group ${number}`.padEnd(context.groupWidth ?? 0);
    const reserved = this.#reserved.get(number) ?? "";
    if (device !== undefined && more.length === 0 && reserved === "") {
      return {
        line: (width) => line(title, "  ", ...deviceLine(device, context, width - widthOf(title) - 2)),
        children: [],
      };
    }
    return {
      line: (width) =>
        line(title.trimEnd(), faint(reserved === "" ? "" : shorten(`  reserved: ${reserved}`, width - 12))),
      children: members.map((each) => deviceItem(each, context)),
    };
  }

  #byBus(): readonly TreeItem[] {
    const buses = [...new Set(this.#topology.devices.map(({ bus }) => bus))].sort();
    return buses.map((bus) => {
      const devices = this.#topology.devices.filter((device) => device.bus === bus);
      const context = { ...this.#context(devices, undefined), isUnderBus: true };
      return {
        line: () => line(strong(bus), faint(`  ${counted(devices.length, "device")}`)),
        children: this.#devices(devices, context),
      };
    });
  }

  /** Firmware describes whatever the chip has: what a board does not use is one line, unless it is little. */
  #devices(devices: readonly TopologyDevice[], context: LineContext): readonly TreeItem[] {
    const off = this.#all ? [] : devices.filter(({ enabled }) => !enabled);
    if (off.length <= MOST_OFF) return devices.map((device) => deviceItem(device, context));
    const on = devices.filter(({ enabled }) => enabled);
    const narrow = { ...context, nameWidth: nameWidthOf(on) };
    return [...on.map((device) => deviceItem(device, narrow)), { line: (width) => offLine(off, width), children: [] }];
  }

  #context(devices: readonly TopologyDevice[], under: TopologyIommu | undefined): LineContext {
    return {
      topology: this.#topology,
      nameWidth: nameWidthOf(devices),
      under,
      hasRoomForIds: roomForIds(devices),
    };
  }
}

function nameWidthOf(devices: readonly TopologyDevice[]): number {
  return devices.reduce((most, device) => Math.max(most, widthOf(device.name)), 0);
}

/** `12 switched off: a, b, c, …`, as many names as there is room for. */
function offLine(devices: readonly TopologyDevice[], width: number): Line {
  const names = devices.map(({ name }) => name);
  const start = `${names.length} switched off (--all): `;
  const room = width - widthOf(start) - 1;
  let text = "";
  for (const each of names) {
    const longer = text === "" ? each : `${text}, ${each}`;
    if (widthOf(longer) > room) break;
    text = longer;
  }
  const isWhole = text === names.join(", ");
  return line(faint(`${start}${text === "" ? shorten(names[0] ?? "", room) : text}${isWhole ? "" : "…"}`));
}

function deviceItem(device: TopologyDevice, context: LineContext): TreeItem {
  return { line: (width) => deviceLine(device, context, width), children: [] };
}

function iommuLine({ name: text, kind, addresses, enabled, disabledBecause }: TopologyIommu, width: number): Line {
  const [first, ...more] = addresses.map((address) => `0x${address.toString(16)}`);
  const isNamed = first === undefined || text.includes(first.slice(2));
  const facts = [kind, ...(isNamed ? [] : [`at ${first}`]), ...(more.length > 0 ? [`${more.length + 1} banks`] : [])];
  const shown = shorten(text, width - 20);
  const left = width - widthOf(shown) - 2;
  const off = enabled ? "" : offText(disabledBecause);
  const fact = facts.join(", ");
  if (off === "") return line(name(shown), faint(`  ${shorten(fact, left)}`));
  return line(name(shown), faint(`  ${shorten(fact, left)}`), notice(clipped(off, left - widthOf(fact) - 2)));
}

/** With two spaces in front, or nothing where there is no room. */
function clipped(text: string, width: number): string {
  return width < 8 ? "" : `  ${shorten(text, width)}`;
}

function regionText({ start, end, type }: ReservedRegion): string {
  return `${type} 0x${start.toString(16)} to 0x${end.toString(16)}`;
}

import type { ReservedRegion } from "../../machine/machine.js";
import type { Finding, SourceKind, Topology, TopologyDevice, TopologyIommu } from "../../topology/topology.js";
import { faint, type Line, line, name, notice, strong, WIDTH } from "../text/line.js";
import { bytes, counted, listed } from "../text/quantity.js";
import { shorten, widthOf } from "../text/width.js";
import { wrap } from "../text/wrap.js";
import { deviceLine, type LineContext, offText } from "./device-line.js";
import type { Order } from "./options.js";
import { drawTree, type TreeItem } from "./tree.js";

const SOURCES: Readonly<Record<SourceKind, string>> = {
  sysfs: "sysfs",
  "device-tree": "device tree",
  iort: "ACPI IORT",
  dmar: "ACPI DMAR",
  ivrs: "ACPI IVRS",
};

/** A topology for people: where it comes from, the tree, and what was found. */
export function renderTopology(topology: Topology, order: Order): readonly Line[] {
  return [
    ...header(topology),
    ...drawTree(new TreeBuilder(topology).items(order), WIDTH),
    ...footer(topology, order),
    ...renderFindings(topology.findings),
  ];
}

function header({ sources, iommus, devices, memory }: Topology): readonly Line[] {
  const from = sources.map(({ kind, name: file }) => (kind === "sysfs" ? file : `${file} (${SOURCES[kind]})`));
  const live = sources.some(({ kind }) => kind === "sysfs");
  const unknown = live ? "" : "; groups and drivers are unknown";
  const size = memory?.reduce((sum, each) => sum + each.size, 0n) ?? 0n;
  const facts = [
    counted(iommus.length, "IOMMU"),
    counted(devices.length, "device"),
    ...(size > 0n ? [`${bytes(Number(size))} of memory`] : []),
  ];
  return [
    ...wrap(line(strong(listed(from))), WIDTH, 2),
    ...wrap(line(faint(`${facts.join(", ")}${unknown}`)), WIDTH, 2),
  ];
}

/** What is not in the tree. */
function footer({ devices }: Topology, order: Order): readonly Line[] {
  const outside = devices.filter(({ links }) => links.length === 0).length;
  if (order !== "iommu" || outside === 0) return [];
  return wrap(line(faint(`and ${counted(outside, "device")} behind no IOMMU: --by bus shows them`)), WIDTH, 2);
}

function renderFindings(findings: readonly Finding[]): readonly Line[] {
  if (findings.length === 0) return [];
  const ordered = [...findings].sort((a, b) => Number(b.severity === "warning") - Number(a.severity === "warning"));
  const lines = ordered.flatMap(({ severity, text }) => {
    const mark = severity === "warning" ? notice("  ! ") : faint("  - ");
    return wrap(line(mark, text), WIDTH, 4);
  });
  return [[], line(strong("Findings")), ...lines];
}

class TreeBuilder {
  readonly #topology: Topology;
  readonly #groups: ReadonlyMap<number, readonly ReservedRegion[]>;

  constructor(topology: Topology) {
    this.#topology = topology;
    this.#groups = new Map(topology.groups.map(({ number, reserved }) => [number, reserved]));
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
    const context = this.#context(devices, under);
    const items = [...groups]
      .sort(([a], [b]) => a - b)
      .map(([number, members]) => this.#group(number, members, context));
    const outside = under === undefined ? loose.filter(({ links }) => links.length > 0) : loose;
    return [...items, ...outside.map((device) => deviceItem(device, context))];
  }

  #group(number: number, members: readonly TopologyDevice[], context: LineContext): TreeItem {
    return {
      line: (width) => {
        const reserved = (this.#groups.get(number) ?? []).map(regionText).join(", ");
        const text = reserved === "" ? "" : shorten(`  reserved: ${reserved}`, width - 12);
        return line(`group ${number}`, faint(text));
      },
      children: members.map((device) => deviceItem(device, context)),
    };
  }

  #byBus(): readonly TreeItem[] {
    const buses = [...new Set(this.#topology.devices.map(({ bus }) => bus))].sort();
    return buses.map((bus) => {
      const devices = this.#topology.devices.filter((device) => device.bus === bus);
      const context = this.#context(devices, undefined);
      return {
        line: () => line(strong(bus), faint(`  ${counted(devices.length, "device")}`)),
        children: devices.map((device) => deviceItem(device, context)),
      };
    });
  }

  #context(devices: readonly TopologyDevice[], under: TopologyIommu | undefined): LineContext {
    const nameWidth = devices.reduce((most, device) => Math.max(most, widthOf(device.name)), 0);
    return { topology: this.#topology, nameWidth, under };
  }
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

import { checked } from "../check.js";
import { pciName } from "../pci-name.js";
import { type Topology, type TopologyDevice, type TopologyIommu, topologyDevice } from "../topology.js";
import { type Dmar, type DmarScope, type DmarUnit, parseDmar } from "./dmar.js";

/**
 * What a DMAR table says: Intel's remapping units, and what is in the scope of each.
 * @param name what the source is called in the result, usually the file.
 * @throws IospanError `ERR_IOSPAN_ACPI_TABLE` for anything malformed, with the offset in the table.
 */
export function topologyOfDmar(bytes: Uint8Array, name: string): Topology {
  const dmar = parseDmar(bytes);
  return checked({
    sources: [{ kind: "dmar", name }],
    iommus: dmar.units.map(unitOf),
    groups: [],
    devices: dmar.units.flatMap((unit) => devicesOf(unit, dmar)),
    engines: [],
    memory: undefined,
    findings: [],
  });
}

const pathOf = ({ offset }: DmarUnit) => `DMAR@0x${offset.toString(16)}`;

/** Linux counts units in the order of the table (drivers/iommu/intel/dmar.c, alloc_iommu). */
function unitOf(unit: DmarUnit, index: number): TopologyIommu {
  const path = pathOf(unit);
  return {
    path,
    paths: { dmar: path },
    name: `dmar${index}`,
    kind: "intel",
    compatible: [],
    addresses: [unit.address],
    enabled: true,
    disabledBecause: undefined,
  };
}

function devicesOf(unit: DmarUnit, { reserved }: Dmar): readonly TopologyDevice[] {
  const named = unit.scopes
    .filter(({ type }) => type === "endpoint" || type === "bridge")
    .map((scope) => scopeDevice(unit, scope))
    .map((device) => ({
      ...device,
      reserved: reserved
        .filter(({ segment, scopes }) => scopes.some((each) => scopeName(segment, each) === device.name))
        .map(({ start, end }) => ({ start, end, type: "direct" })),
    }));
  return unit.includesAll ? [...named, segmentOf(unit)] : named;
}

function scopeDevice(unit: DmarUnit, scope: DmarScope): TopologyDevice {
  const name = scopeName(unit.segment, scope);
  const path = `${pathOf(unit)}/${name}`;
  const requesterId = requesterIdOf(scope);
  const ids = requesterId === undefined ? [] : [{ first: requesterId, count: 1 }];
  return topologyDevice({
    path,
    paths: { dmar: path },
    name,
    bus: "pci",
    isBus: scope.type === "bridge",
    enabled: true,
    domain: unit.segment,
    requesterId,
    links: [{ iommu: pathOf(unit), ids, used: true, via: "dmar" }],
  });
}

/** The unit that has what no other unit names. */
function segmentOf(unit: DmarUnit): TopologyDevice {
  const path = `${pathOf(unit)}/segment`;
  return topologyDevice({
    path,
    paths: { dmar: path },
    name: `PCI segment ${unit.segment.toString(16).padStart(4, "0")}, the rest`,
    bus: "platform",
    isBus: true,
    enabled: true,
    domain: unit.segment,
    // Which IDs these are only the scopes of all units together, and the bridges above, tell.
    links: [{ iommu: pathOf(unit), ids: [], used: true, via: "dmar" }],
  });
}

/** Only on the first bus of a path: the numbers of those behind are enumeration's. */
function requesterIdOf({ bus, path }: DmarScope): number | undefined {
  const [first, ...more] = path;
  return first === undefined || more.length > 0 ? undefined : (bus << 8) | (first.device << 3) | first.function;
}

/** `0000:00:02.0`, and behind bridges `0000:00:1c.0/00.0`. */
function scopeName(segment: number, { bus, path }: DmarScope): string {
  const [first, ...more] = path;
  const start = pciName(segment, (bus << 8) | ((first?.device ?? 0) << 3) | (first?.function ?? 0));
  return [start, ...more.map((each) => `${each.device.toString(16).padStart(2, "0")}.${each.function}`)].join("/");
}

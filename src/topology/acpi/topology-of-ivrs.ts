import { checked } from "../check.js";
import { pciName } from "../pci-name.js";
import { type Topology, type TopologyDevice, type TopologyIommu, topologyDevice } from "../topology.js";
import { type Ivrs, type IvrsRange, type IvrsUnit, parseIvrs } from "./ivrs.js";

/**
 * What an IVRS table says: AMD's units, and which requester IDs each translates.
 * @param name what the source is called in the result, usually the file.
 * @throws IospanError `ERR_IOSPAN_ACPI_TABLE` for anything malformed, with the offset in the table.
 */
export function topologyOfIvrs(bytes: Uint8Array, name: string): Topology {
  const ivrs = parseIvrs(bytes);
  return checked({
    sources: [{ kind: "ivrs", name }],
    iommus: ivrs.units.map(unitOf),
    groups: [],
    devices: ivrs.units.flatMap((unit) => unit.ranges.map((range) => deviceOf(unit, range, ivrs))),
    engines: [],
    memory: undefined,
    findings: [],
  });
}

const pathOf = ({ offset }: IvrsUnit) => `IVRS@0x${offset.toString(16)}`;

/** Linux counts units in the order of the table (drivers/iommu/amd/init.c, init_iommu_one). */
function unitOf(unit: IvrsUnit, index: number): TopologyIommu {
  const path = pathOf(unit);
  return {
    path,
    paths: { ivrs: path },
    name: `ivhd${index}`,
    kind: "amd",
    compatible: [],
    addresses: [unit.address],
    enabled: true,
    disabledBecause: undefined,
  };
}

function deviceOf(unit: IvrsUnit, range: IvrsRange, { memory }: Ivrs): TopologyDevice {
  const isOne = range.first === range.last;
  const [first, last] = [pciName(unit.segment, range.first), pciName(unit.segment, range.last)];
  const path = `${pathOf(unit)}/${first}`;
  const ids = [{ first: range.first, count: range.last - range.first + 1, ...(isOne ? {} : { input: range.first }) }];
  return topologyDevice({
    path,
    paths: { ivrs: path },
    name: isOne ? first : `${first} to ${last}`,
    bus: "pci",
    isBus: !isOne,
    enabled: true,
    domain: unit.segment,
    requesterId: isOne ? range.first : undefined,
    links: [{ iommu: pathOf(unit), ids, used: true, via: "ivrs" }],
    reserved: memory
      .filter((each) => each.length > 0n && each.first <= range.last && each.last >= range.first)
      .map(({ start, length, type }) => ({ start, end: start + length - 1n, type })),
  });
}

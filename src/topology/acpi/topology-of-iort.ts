import type { ReservedRegion } from "../../machine/machine.js";
import { checked } from "../check.js";
import { iommuName } from "../iommu-name.js";
import {
  type IdRange,
  type IommuLink,
  type Topology,
  type TopologyDevice,
  type TopologyIommu,
  topologyDevice,
} from "../topology.js";
import { type Iort, type IortNode, parseIort } from "./iort.js";
import { type IortRange, idRanges } from "./iort-ids.js";

/**
 * What an IORT says: SMMUs, PCI segments and named components behind them, and memory that firmware keeps for some.
 * @param name what the source is called in the result, usually the file.
 * @throws IospanError `ERR_IOSPAN_ACPI_TABLE` for anything malformed, with the offset in the table.
 */
export function topologyOfIort(bytes: Uint8Array, name: string): Topology {
  const iort = parseIort(bytes);
  const nodes = [...iort.nodes.values()];
  const devices = nodes.flatMap((node) => deviceOf(iort, node) ?? []);
  return checked({
    sources: [{ kind: "iort", name }],
    iommus: iommusOf(nodes),
    groups: [],
    devices: devices.map((device) => ({ ...device, reserved: reservedFor(device, nodes) })),
    engines: [],
    memory: undefined,
    findings: [],
  });
}

const pathOf = (node: Pick<IortNode, "offset">) => `IORT@0x${node.offset.toString(16)}`;

/** What Linux makes platform devices of (drivers/acpi/arm64/iort.c, iort_get_dev_cfg), and how it calls them. */
const DEVICES: Readonly<Partial<Record<IortNode["body"]["type"], string>>> = {
  "smmu-v3": "arm-smmu-v3",
  smmu: "arm-smmu",
  pmcg: "arm-smmu-v3-pmcg",
};

/** The kernel numbers them in the table's order, before anything else asks for a number (iort_add_platform_device). */
function iommusOf(nodes: readonly IortNode[]): readonly TopologyIommu[] {
  return nodes
    .filter(({ body }) => DEVICES[body.type] !== undefined)
    .flatMap((node, index) => iommuOf(node, `${DEVICES[node.body.type]}.${index}.auto`) ?? []);
}

/** The flags win over what the SMMU says of itself (arm-smmu-v3.c and arm-smmu.c, arm_smmu_device_acpi_probe). */
const COHERENT_FLAG = { "smmu-v3": 1 << 0, smmu: 1 << 1 } as const;

function iommuOf(node: IortNode, device: string): TopologyIommu | undefined {
  const { body } = node;
  if (body.type !== "smmu" && body.type !== "smmu-v3") return undefined;
  const kind = body.type === "smmu" ? "arm,smmu" : "arm,smmu-v3";
  const path = pathOf(node);
  return {
    path,
    paths: { iort: path },
    name: iommuName({ kind, address: body.address, device }),
    kind,
    compatible: [],
    addresses: [body.address],
    enabled: true,
    disabledBecause: undefined,
    coherent: (body.flags & COHERENT_FLAG[body.type]) !== 0,
    device,
  };
}

function deviceOf(iort: Iort, node: IortNode): TopologyDevice | undefined {
  const { body } = node;
  if (body.type !== "root-complex" && body.type !== "named-component") return undefined;
  const links = linksOf(idRanges(iort, node, "smmu"));
  const path = pathOf(node);
  const known = { path, paths: { iort: path }, bus: "platform", links, enabled: true, coherent: body.memory.coherent };
  if (body.type === "named-component")
    return topologyDevice({ ...known, name: body.name || path, acpi: body.name || undefined, isBus: false });
  const name = `PCI segment ${body.segment.toString(16).padStart(4, "0")}`;
  return topologyDevice({ ...known, name, isBus: true, domain: body.segment });
}

/** Linux lets an SMMU translate the device wherever the table leads to one; of several it takes the first. */
function linksOf(ranges: readonly IortRange[]): readonly IommuLink[] {
  const targets = [...new Set(ranges.map(({ target }) => target))];
  return targets.map((target, index) => {
    const own = ranges.filter((range) => range.target === target);
    const isMap = own.some(({ input }) => input !== undefined);
    return { iommu: pathOf(target), ids: own.map(rangeOf), used: isMap || index === 0, via: "iort" };
  });
}

function rangeOf({ input, output, count }: IortRange): IdRange {
  return { first: output, count, ...(input === undefined ? {} : { input }) };
}

/** RMR nodes name StreamIDs at an SMMU; whose these are, the other nodes say (drivers/acpi/arm64/iort.c, iort_get_rmrs). */
function reservedFor({ links }: TopologyDevice, nodes: readonly IortNode[]): readonly ReservedRegion[] {
  return nodes.flatMap(({ body, mappings }) => {
    if (body.type !== "rmr") return [];
    const concerns = mappings.some(({ target, output, input, last }) =>
      links
        .filter(({ iommu }) => iommu === pathOf({ offset: target }))
        .some(({ ids }) => ids.some(({ first, count }) => first <= output + last - input && output < first + count)),
    );
    if (!concerns) return [];
    const type = body.remap ? "direct-relaxable" : "direct";
    return body.ranges
      .filter(({ length }) => length > 0n)
      .map(({ start, length }) => ({ start, end: start + length - 1n, type }));
  });
}

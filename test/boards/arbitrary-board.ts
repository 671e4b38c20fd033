import fc from "fast-check";
import type { RawNode, RawTree } from "../../src/devicetree/raw-tree.js";
import { cells, text } from "../devicetree/arbitrary-tree.js";

/** IOMMUs of a board; more than devices usually name, so that rows and entries go to several. */
const MOST_IOMMUS = 4;
const FIRST_IOMMU = 0x10;
/** A phandle of no node, one of a node that is no IOMMU, and the one that is none. */
const WRONG_PHANDLES = [0x99, 0x50, 0];

const COMPATIBLE = [
  "arm,smmu-v3",
  "arm,mmu-500",
  "rockchip,iommu",
  "samsung,exynos-sysmmu",
  "qcom,msm-iommu-v1",
  "mediatek,mt8173-m4u",
  "allwinner,sun50i-h6-iommu",
];

const status = fc.option(
  fc.constantFrom("okay", "ok", "disabled", "reserved", "fail", "fail-needs-probe", "").map((each) => text([each])),
  { nil: undefined, freq: 2 },
);
const target = fc.oneof(
  { weight: 20, arbitrary: fc.nat(MOST_IOMMUS - 1).map((index) => FIRST_IOMMU + index) },
  { weight: 1, arbitrary: fc.constantFrom(...WRONG_PHANDLES) },
);
const id = fc.oneof(fc.nat(8), fc.constantFrom(0x100, 0x208, 0xffff, 0x10000));

const iommu = fc.record({
  idCells: fc.constantFrom(0, 1, 1, 1, 2, 2),
  compatible: fc.constantFrom(...COMPATIBLE),
  status,
});
type Iommu = { readonly idCells: number; readonly compatible: string; readonly status: Uint8Array | undefined };

const width = (iommus: readonly Iommu[], phandle: number) => iommus[phandle - FIRST_IOMMU]?.idCells ?? 1;

/** Entries of `iommus`, as wide as their targets want them; sometimes the last one is cut off. */
const entries = fc.record({
  list: fc.array(fc.tuple(target, id, id), { minLength: 1, maxLength: 3 }),
  cut: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constant(1) }),
});
/** Rows of `iommu-map`; `old` ones have four cells whatever their target. */
const map = fc.record({
  rows: fc.array(fc.tuple(id, target, id, fc.constantFrom(0, 1, 1, 1, 2, 0x100, 0x10000)), {
    minLength: 1,
    maxLength: 5,
  }),
  mask: fc.option(fc.constantFrom(0, 0xff, 0xff00, 0xffff), { nil: undefined, freq: 3 }),
  isOld: fc.boolean(),
});
const device = fc.record({
  entries: fc.option(entries, { nil: undefined, freq: 4 }),
  map: fc.option(map, { nil: undefined, freq: 2 }),
  status,
});
const pciFunction = fc.record({ requesterId: fc.oneof(fc.nat(16), fc.constantFrom(0x100, 0x208)), status });
const host = fc.record({
  map,
  functions: fc.uniqueArray(pciFunction, { maxLength: 3, selector: (f) => f.requesterId }),
});

function properties(list: Readonly<Record<string, Uint8Array | undefined>>): ReadonlyMap<string, Uint8Array> {
  return new Map(
    Object.entries(list).flatMap(([name, bytes]) => (bytes === undefined ? [] : [[name, bytes] as const])),
  );
}

function node(name: string, list: Parameters<typeof properties>[0], children: readonly RawNode[] = []): RawNode {
  return { name, properties: properties(list), children };
}

function iommuNode(each: Iommu, index: number): RawNode {
  return node(`iommu@${index}0000`, {
    compatible: text([each.compatible]),
    reg: cells([0, index << 16, 0, 0x1000]),
    "#iommu-cells": cells([each.idCells]),
    phandle: cells([FIRST_IOMMU + index]),
    status: each.status,
  });
}

type Map = {
  readonly rows: readonly (readonly [number, number, number, number])[];
  readonly mask: number | undefined;
  readonly isOld: boolean;
};

function mapProperties(iommus: readonly Iommu[], { rows, mask, isOld }: Map): Parameters<typeof properties>[0] {
  const all = rows.flatMap(([first, phandle, output, length]) => {
    const outputCells = isOld ? 1 : width(iommus, phandle);
    return [first, phandle, ...[output, 0x3f].slice(0, outputCells), length];
  });
  return { "iommu-map": cells(all), "iommu-map-mask": mask === undefined ? undefined : cells([mask]) };
}

type Entries = { readonly list: readonly (readonly [number, number, number])[]; readonly cut: number };

function entryCells(iommus: readonly Iommu[], { list, cut }: Entries): Uint8Array {
  const all = list.flatMap(([phandle, first, second]) => [
    phandle,
    ...[first, second].slice(0, width(iommus, phandle)),
  ]);
  return cells(all.slice(0, all.length - cut));
}

/** Of a device with a map as well whose own entries are all wrong, a topology does not tell that it has some. */
function isSound(iommus: readonly Iommu[], own: Entries | undefined): boolean {
  return own === undefined || (own.cut === 0 && iommus[(own.list[0]?.[0] ?? 0) - FIRST_IOMMU] !== undefined);
}

/** Boards with IOMMUs of all kinds, devices and PCI functions behind them, and mistakes. */
export const arbitraryBoard: fc.Arbitrary<RawTree> = fc
  .record({
    iommus: fc.array(iommu, { minLength: 1, maxLength: MOST_IOMMUS }),
    devices: fc.array(device, { maxLength: 5 }),
    hosts: fc.array(host, { maxLength: 2 }),
    busStatus: status,
  })
  .map(({ iommus, devices, hosts, busStatus }) => {
    const nodes = iommus.map(iommuNode);
    const masters = devices.map((each, index) =>
      node(`dev@${index}`, {
        iommus: each.entries && entryCells(iommus, each.entries),
        ...(each.map && isSound(iommus, each.entries) && mapProperties(iommus, each.map)),
        status: each.status,
      }),
    );
    const hostNodes = hosts.map((each, index) =>
      node(
        `pcie@${index}`,
        {
          device_type: text(["pci"]),
          "#address-cells": cells([3]),
          "#size-cells": cells([2]),
          ...mapProperties(iommus, each.map),
        },
        each.functions.map(({ requesterId, status: own }) =>
          node(`fn@${requesterId}`, { reg: cells([requesterId << 8, 0, 0, 0, 0]), status: own }),
        ),
      ),
    );
    // The first IOMMU and the first device are on a bus that may be off.
    const soc = node(
      "soc",
      { "#address-cells": cells([2]), "#size-cells": cells([2]), ranges: cells([]), status: busStatus },
      [...nodes.slice(0, 1), ...masters.slice(0, 1)],
    );
    const plain = node("plain", { phandle: cells([0x50]) });
    const root = node("", { "#address-cells": cells([2]), "#size-cells": cells([2]) }, [
      soc,
      plain,
      ...nodes.slice(1),
      ...masters.slice(1),
      ...hostNodes,
    ]);
    return { root, reservations: [], bootCpu: 0 };
  });

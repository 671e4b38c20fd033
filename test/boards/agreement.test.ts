import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { topologyDifferences } from "../../boards/agreement.js";
import { readFlatTree } from "../../boards/independent/flat-tree.js";
import { type Translation, translations } from "../../boards/independent/translation.js";
import { comparePlan, planPairs } from "../../boards/plans.js";
import { encodeBlob } from "../../src/devicetree/blob-writer.js";
import { parseSource } from "../../src/devicetree/source.js";
import { DeviceTree } from "../../src/devicetree/tree.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";
import { arbitraryBoard } from "./arbitrary-board.js";
import { exampleChips, type SyntheticTree, syntheticTrees } from "./synthetic-trees.js";

const all: readonly SyntheticTree[] = [...syntheticTrees, ...exampleChips];

function translationsOf(blob: Uint8Array): ReadonlyMap<string, Translation> {
  return translations(readFlatTree(blob).root);
}

function planDifferences(blob: Uint8Array, others = translationsOf(blob)): readonly string[] {
  return planPairs(topologyOfDeviceTree(blob)).flatMap((each) => comparePlan(each, others).difference ?? []);
}

function treeNamed(name: string): SyntheticTree {
  return all.find((each) => each.name === name)!;
}

/** The translations of a tree with one of them changed. */
function changed(
  { blob }: SyntheticTree,
  path: string,
  change: Partial<Translation>,
): ReadonlyMap<string, Translation> {
  const found = new Map(translationsOf(blob));
  found.set(path, { ...found.get(path)!, ...change });
  return found;
}

describe("the topology and the reading beside it", () => {
  it.each(all)("agree: $name", ({ blob }) => {
    expect(translationsOf(blob).size).toBeGreaterThan(2);
    expect(topologyDifferences(topologyOfDeviceTree(blob), translationsOf(blob))).toEqual([]);
  });

  it("agree on boards of all kinds", () => {
    fc.assert(
      fc.property(arbitraryBoard, (raw) => {
        const blob = encodeBlob(new DeviceTree(raw));
        expect(topologyDifferences(topologyOfDeviceTree(blob), translationsOf(blob))).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });

  it("agree on the oldest binding, in which SMMUs name their masters", () => {
    const smmu = (name: string, masters: string) =>
      `${name} { compatible = "arm,mmu-400", "arm,smmu-v1"; dma-coherent; mmu-masters = ${masters}; };`;
    const source = `/dts-v1/; / { x: x { linux,phandle = <0x70>; #stream-id-cells = <2>; }; y: y { #stream-id-cells = <1>; };
      ${smmu("s0", "<&x 1 2>, <0x99 3>, <&y 4>")} ${smmu("s1", "<&y 5>, <0x70 6 7>")} };`;
    const blob = encodeBlob(parseSource(source));
    const found = translationsOf(blob);
    expect([found.get("/x")?.iommus, found.get("/y")?.iommus]).toEqual([["/s0"], ["/s1"]]);
    expect(topologyDifferences(topologyOfDeviceTree(blob), found)).toEqual([]);
    expect(planDifferences(blob)).toEqual([]);
  });

  const chip = treeNamed("dual-smmu");
  const port = "/dma-port@9030000";

  it.each<[string, Partial<Translation>, string]>([
    [
      "other IOMMUs",
      { iommus: ["/elsewhere"] },
      `${port}: behind /iommu@c020000 in the topology, behind /elsewhere beside it`,
    ],
    ["none", { iommus: [] }, `${port}: behind /iommu@c020000 in the topology, behind none beside it`],
    [
      "unknown ones",
      { iommus: undefined },
      `${port}: behind /iommu@c020000 in the topology, behind nobody knows what beside it`,
    ],
    ["one that is off", { present: false }, `${port}: on in the topology, off beside it`],
  ])("are seen to differ: %s", (_, change, text) => {
    const topology = topologyOfDeviceTree(chip.blob);
    expect(topologyDifferences(topology, changed(chip, port, change))).toEqual([text]);
  });

  it("are seen to differ where one lacks a device", () => {
    const topology = topologyOfDeviceTree(chip.blob);
    const less = new Map([...translationsOf(chip.blob)].filter(([path]) => path !== port));
    expect(topologyDifferences(topology, less)).toEqual([
      `${port}: the topology has it, the independent reading has not`,
    ]);
    const more = changed(chip, port, {}) as Map<string, Translation>;
    more.set("/more", { ...more.get(port)!, path: "/more" });
    expect(topologyDifferences(topology, more)).toEqual([
      "/more: the independent reading has it, the topology has not",
    ]);
  });
});

describe("the plan for each pair and the computation beside it", () => {
  it.each(all)("agree: $name", ({ blob }) => {
    expect(planDifferences(blob)).toEqual([]);
  });

  it("agree on boards of all kinds", () => {
    fc.assert(
      fc.property(arbitraryBoard, (raw) => {
        expect(planDifferences(encodeBlob(new DeviceTree(raw)))).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  it("are seen to differ, with both sides", () => {
    const chip = treeNamed("dual-smmu");
    const [difference, ...more] = planDifferences(
      chip.blob,
      changed(chip, "/dma-port@9030000", { iommus: ["/iommu@c000000"] }),
    );
    expect(more).toHaveLength(1);
    expect(difference).toMatch(
      /\/dma-port@9030000: planned mirrored yes, shared-container unknown, iommufd unknown, single-domain no/,
    );
    expect(difference).toMatch(
      /expected mirrored yes, shared-container yes, iommufd unknown, single-domain unknown \(same\)/,
    );
  });
});

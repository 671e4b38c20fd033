import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TreeNode } from "../../src/devicetree/node.js";
import type { RawNode } from "../../src/devicetree/raw-tree.js";
import { parseSource } from "../../src/devicetree/source.js";
import { DeviceTree } from "../../src/devicetree/tree.js";
import { IospanError } from "../../src/errors.js";
import { topologyOfTree } from "../../src/topology/device-tree/topology-of-tree.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";

const SOURCE = `/dts-v1/; / {
  #address-cells = <2>; #size-cells = <2>;
  aliases { mmc = "/soc/mmc@3000"; };
  memory@80000000 { device_type = "memory"; reg = <0 0x80000000 1 0>; };
  reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;
    kept: kept { iommu-addresses = <&mmc 0 0x1000 0 0x1000>; }; };
  soc { compatible = "simple-bus"; #address-cells = <2>; #size-cells = <2>; ranges; status = "okay"; dma-coherent;
    smmu: iommu@1000 { compatible = "arm,smmu-v3"; reg = <0 0x1000 0 0x1000>; #iommu-cells = <1>; status = "okay"; };
    mmu: iommu@2000 { compatible = "acme,one", "arm,mmu-500"; reg = <0 0x2000 0 0x1000>; #iommu-cells = <2>; };
    mmc: mmc@3000 { compatible = "acme,mmc"; reg = <0 0x3000 0 0x1000>; iommus = <&smmu 1>, <&mmu 2 0x3f>;
      memory-region = <&kept>; status = "okay"; };
    pcie@4000 { compatible = "acme,pcie"; device_type = "pci"; #address-cells = <3>; #size-cells = <2>; bus-range = <0 0xff>;
      linux,pci-domain = <0>; iommu-map = <0 &smmu 0 0x100>, <0x100 &mmu 0x100 0x3f 1>; iommu-map-mask = <0xffff>;
      nic@1,0 { compatible = "pci1af4,1041"; reg = <0x800 0 0 0 0>; }; };
    old { compatible = "arm,mmu-400"; mmu-masters = <&legacy 1 2>; };
    legacy: legacy { #stream-id-cells = <2>; };
  };
};`;

/** The tree with some bytes of properties changed. */
function damaged(node: TreeNode, changes: ReadonlyMap<number, Uint8Array>, counter = { next: 0 }): RawNode {
  const properties = new Map(
    Array.from(node.properties.values(), ({ name, bytes }) => [name, changes.get(counter.next++) ?? bytes] as const),
  );
  return { name: node.name, properties, children: node.children.map((child) => damaged(child, changes, counter)) };
}

const good = parseSource(SOURCE);
const count = [...good.nodes()].reduce((sum, { properties }) => sum + properties.size, 0);
const value = fc.oneof(
  fc.uint8Array({ maxLength: 9 }),
  fc
    .constantFrom([], [0], [0x41], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2], [0xff, 0xff, 0xff, 0xff])
    .map((each) => Uint8Array.from(each)),
);

describe("a tree whose properties make no sense", () => {
  it("is read all the same, if it is a tree", () => {
    const changes = fc.array(fc.tuple(fc.nat(count - 1), value), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(changes, (list) => {
        let tree: DeviceTree;
        try {
          tree = new DeviceTree({ root: damaged(good.root, new Map(list)), reservations: [], bootCpu: 0 });
        } catch (error) {
          if (error instanceof IospanError) return;
          throw error;
        }
        const { iommus } = topologyOfTree(tree, "damaged");
        const present = [...tree.nodes()].filter((node) => node.has("#iommu-cells") || node.has("mmu-masters"));
        expect(iommus.map(({ path }) => path)).toEqual(present.map(({ path }) => path));
      }),
      { numRuns: 3000 },
    );
  });

  it.each([
    ["iommu@1000", 'status = "okay"', "status = [6f 6b]", "its status is malformed"],
    ["iommu@1000", 'status = "okay"', "status", "its status is empty"],
    ["iommu@1000", 'status = "okay"', 'status = "reserved", "okay"', "its status is reserved"],
    ["iommu@1000", 'status = "okay"', 'status = "okay", "whatever"', undefined],
  ])("has an IOMMU that Linux finds off: %s with %s → %s", (name, from, to, because) => {
    const [head, tail] = [SOURCE.slice(0, SOURCE.indexOf(name)), SOURCE.slice(SOURCE.indexOf(name))];
    const topology = topologyOfDeviceTree(head + tail.replace(from, to));
    expect(topology.iommus[0]).toMatchObject({ enabled: because === undefined, disabledBecause: because });
    const mmc = topology.devices.find(({ name: each }) => each === "3000.mmc");
    expect(mmc?.links.map(({ used }) => used)).toEqual([false, false]);
  });
});

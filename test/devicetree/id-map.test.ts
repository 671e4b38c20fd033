import { describe, expect, it } from "vitest";
import { type IdMap, iommuMap, msiMap } from "../../src/devicetree/id-map.js";
import { parseSource } from "../../src/devicetree/source.js";
import { refused } from "./refused.js";

const iommus = "x: x { #iommu-cells = <1>; }; y: y { #iommu-cells = <2>; }; z: z { #iommu-cells = <0>; }; n: n { };";
const maps = (properties: string) => {
  const pcie = parseSource(`/dts-v1/; / { ${iommus} pcie { ${properties} }; };`).find("/pcie");
  if (pcie === undefined) throw new Error("no /pcie");
  return { iommu: () => iommuMap(pcie), msi: () => msiMap(pcie) };
};
const lookUp = (map: IdMap | undefined, id: number) => {
  const found = map?.lookUp(id);
  return found && [found.target.path, found.id, ...found.rest];
};

describe("a map of IDs", () => {
  it("moves ranges of IDs", () => {
    const map = maps("iommu-map = <0x0 &x 0x1000 0x100>, <0x100 &z 0 1>, <0x200 &x 0 0x10>;").iommu();
    expect(map?.entries).toHaveLength(3);
    expect(lookUp(map, 0xff)).toEqual(["/x", 0x10ff]);
    expect(lookUp(map, 0x100)).toEqual(["/z", 0]);
    expect(lookUp(map, 0x101)).toBeUndefined();
    expect(lookUp(map, 0x20f)).toEqual(["/x", 0xf]);
  });

  it("looks at some bits only, if a mask says so", () => {
    const map = maps("iommu-map = <0x0 &x 0x80 0x10000>; iommu-map-mask = <0xff00>;").iommu();
    expect(lookUp(map, 0x1ff)).toEqual(["/x", 0x180]);
    expect(lookUp(maps("iommu-map = <0 &x 5 1>; iommu-map-mask = <0>;").iommu(), 0x1234)).toEqual(["/x", 5]);
  });

  it("has wider rows for IOMMUs whose IDs have two cells", () => {
    const map = maps("iommu-map = <0x0 &y 0x10 0x3f 0x8>, <0x8 &x 0 1>;").iommu();
    expect(lookUp(map, 3)).toEqual(["/y", 0x13, 0x3f]);
    expect(lookUp(map, 8)).toEqual(["/x", 0]);
  });

  it("may have rows of four cells all the same, as older trees do", () => {
    const old = Array.from({ length: 5 }, (_, row) => `<${row} &y ${0x10 + row} 1>`).join(", ");
    expect(lookUp(maps(`iommu-map = ${old};`).iommu(), 4)).toEqual(["/y", 0x14]);
  });

  it("need not be there", () => {
    expect(maps("").iommu()).toBeUndefined();
    expect(maps("").msi()).toBeUndefined();
  });

  it("of interrupts leads to any node", () => {
    expect(lookUp(maps("msi-map = <0 &n 0x100 0x10>;").msi(), 1)).toEqual(["/n", 0x101]);
  });

  it.each(["<0 &n 0 1>", "<0 99 0 1>", "<0 &x 0>", "<0 &x 0 1 0>", "<0 &y 0 0>, <1 &y>"])("refuses %s", (map) => {
    expect(refused(maps(`iommu-map = ${map};`).iommu)).toMatch(/\/pcie: iommu-map is no list of rows/);
  });
});

import { describe, expect, it } from "vitest";
import { IdMap, iommuMap, msiMap } from "../../src/devicetree/id-map.js";
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
    const map = maps("iommu-map = <0x0 &x 0x1000 0x100>, <0x100 &z 1>, <0x200 &x 0 0x10>;").iommu();
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
    const map = maps("iommu-map = <0x3 &y 0x10 0x3f 1>, <0x8 &x 0 1>, <0x9 &y 0x20 0x3f 2>;").iommu();
    expect(lookUp(map, 3)).toEqual(["/y", 0x10, 0x3f]);
    expect(lookUp(map, 8)).toEqual(["/x", 0]);
    // Nobody says how 0xa should become two cells; Linux refuses the whole row.
    expect(lookUp(map, 9)).toBeUndefined();
    expect(map?.usable.map(({ first }) => first)).toEqual([3, 8]);
  });

  it("has narrower rows for IOMMUs that have no IDs", () => {
    const map = maps("iommu-map = <0x0 &z 0x100>, <0x100 &x 5 1>;").iommu();
    expect(map?.entries.map(({ first, length }) => [first, length])).toEqual([
      [0, 0x100],
      [0x100, 1],
    ]);
    expect(lookUp(map, 0x100)).toEqual(["/x", 5]);
  });

  it("ends for Linux at a row that its mask makes senseless", () => {
    const map = maps("iommu-map = <0 &x 5 1>, <0x100 &x 6 1>, <1 &x 7 1>; iommu-map-mask = <0xff>;").iommu();
    expect(lookUp(map, 0)).toEqual(["/x", 5]);
    expect(lookUp(map, 1)).toBeUndefined();
    expect(map?.usable).toHaveLength(1);
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

  it.each([
    ["<0 &n 0 1>", /refers to \/n, which has no #iommu-cells/],
    ["<0 99 0 1>", /refers to phandle 0x63, which no node has/],
    ["<0 0 0 1>", /refers to phandle 0x0/],
    ["<0 &x 0>", /ends within row 1/],
    ["<0 &x 0 1 0>", /ends within row 2/],
    ["<0 &x 0 1 0 &y 0 1>", /ends within row 2/],
    ["<0 &y 0 0>, <1 &y>", /ends within row 2/],
    // Rows of four cells are for one ID each.
    ["<0 &y 0 0x10000>", /ends within row 1/],
  ])("refuses %s", (map, problem) => {
    expect(refused(maps(`iommu-map = ${map};`).iommu)).toMatch(problem);
    expect(refused(maps(`iommu-map = ${map};`).iommu)).toMatch(/\/pcie: iommu-map /);
  });

  it("can be read up to where it is wrong", () => {
    const tree = parseSource(`/dts-v1/; / { ${iommus} pcie { iommu-map = <0 &x 5 1>, <1 99 0 1>, <2 &x 6 1>; }; };`);
    const map = new IdMap(tree.find("/pcie")!.required("iommu-map"), "#iommu-cells");
    expect(map.problem).toMatch(/phandle 0x63/);
    expect(lookUp(map, 0)).toEqual(["/x", 5]);
    expect(lookUp(map, 2)).toBeUndefined();
  });
});

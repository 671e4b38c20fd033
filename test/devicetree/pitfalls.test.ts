import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dmaToRoot, toRoot } from "../../src/devicetree/address.js";
import { IdMap } from "../../src/devicetree/id-map.js";
import type { TreeNode } from "../../src/devicetree/node.js";
import { parseSource } from "../../src/devicetree/source.js";
import { refused } from "./refused.js";

const tree = (body: string) => parseSource(`/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; ${body} };`);
const node = (body: string, path: string): TreeNode => tree(body).find(path)!;

describe("a status", () => {
  it.each([
    ["", "okay", true],
    ['status = "okay";', "okay", true],
    ['status = "ok";', "okay", true],
    ['status = "okay", "but";', "okay", true],
    ['status = "disabled", "okay";', "disabled", false],
    ['status = "fail-needs-probe";', "fail-needs-probe", false],
    ['status = "";', "", false],
    ["status;", "", false],
  ])("%s", (property, status, isEnabled) => {
    const found = node(`bus { ${property} d { }; };`, "/bus");
    expect(found.status).toBe(status);
    expect([found.isEnabled, found.child("d")?.isEnabled]).toEqual([isEnabled, isEnabled]);
  });

  it("that is no text is refused", () => {
    expect(refused(() => node("a { status = [6f 6b]; };", "/a").isEnabled)).toMatch(/\/a: status should be text/);
  });
});

describe("a DMA address", () => {
  const bus = (ranges: string) =>
    node(
      `soc { #address-cells = <1>; #size-cells = <1>; ranges; ${ranges} sub { #address-cells = <1>; #size-cells = <1>; }; };`,
      "/soc/sub",
    );

  it("goes through the dma-ranges of the buses that have them", () => {
    expect(dmaToRoot(bus("dma-ranges = <0x80000000 0x8 0x0 0x40000000>;"), 0x8000_1000n)).toBe(0x8_0000_1000n);
    expect(dmaToRoot(bus("dma-ranges;"), 0x8000_1000n)).toBe(0x8000_1000n);
    expect(dmaToRoot(bus(""), 0x8000_1000n)).toBe(0x8000_1000n);
  });

  it("that none of them holds leads nowhere", () => {
    expect(dmaToRoot(bus("dma-ranges = <0x80000000 0x8 0x0 0x40000000>;"), 0xc000_0000n)).toBeUndefined();
  });

  it("is not one that the CPU uses, which needs ranges", () => {
    expect(toRoot(bus(""), 0x1000n)).toBeUndefined();
    expect(toRoot(bus("").parent!, 0x1000n)).toBe(0x1000n);
  });
});

describe("a map of IDs", () => {
  const iommus = "i0: i0 { #iommu-cells = <0>; }; i1: i1 { #iommu-cells = <1>; }; i2: i2 { #iommu-cells = <2>; };";
  const map = (text: string) =>
    new IdMap(node(`${iommus} bus { ${text} };`, "/bus").required("iommu-map"), "#iommu-cells");

  /** As drivers/of/base.c, of_map_id, for rows that are as wide as their targets want them. */
  function linux(rows: readonly Row[], mask: number, id: number): readonly (string | number)[] | undefined {
    const masked = (id & mask) >>> 0;
    for (const { first, target, outputs, length } of rows) {
      if ((first & ~mask) !== 0) return undefined;
      if (masked < first || masked - first >= length) continue;
      if (length > 1 && target > 1) return undefined;
      return [
        `/i${target}`,
        ...outputs.slice(0, target).map((each, index) => (index === 0 ? each + masked - first : each)),
      ];
    }
    return undefined;
  }

  interface Row {
    readonly first: number;
    readonly target: number;
    readonly outputs: readonly number[];
    readonly length: number;
  }

  const row: fc.Arbitrary<Row> = fc.record({
    first: fc.oneof(fc.nat(32), fc.constantFrom(0x100, 0x8000)),
    target: fc.nat(2),
    outputs: fc.array(fc.nat(0xffff), { minLength: 2, maxLength: 2 }),
    length: fc.oneof(fc.constant(1), fc.nat(40)),
  });

  it("says what Linux says", () => {
    const mask = fc.constantFrom(0xffff_ffff, 0xffff, 0xff, 0x1f, 0);
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 6 }), mask, fc.nat(0x180), (rows, bits, id) => {
        // Such a map would be taken for an old one.
        fc.pre(!(rows[0]?.target === 2 && (5 * rows.length) % 4 === 0));
        const cells = rows.map((each) =>
          [each.first, `&i${each.target}`, ...each.outputs.slice(0, each.target), each.length].join(" "),
        );
        const found = map(`iommu-map = <${cells.join(" ")}>; iommu-map-mask = <${bits}>;`).lookUp(id);
        const expected = linux(rows, bits, id);
        expect(found && [found.target.path]).toEqual(expected?.slice(0, 1));
        if (found !== undefined && expected !== undefined && expected.length > 1) {
          expect([found.id, ...found.rest]).toEqual(expected.slice(1));
        }
      }),
      { numRuns: 1000 },
    );
  });

  it.each([1, 5, 10, 20])("of %i old rows is told from one of new rows", (count) => {
    const rows = (of: (index: number) => string) =>
      Array.from({ length: count }, (_, index) => `<${of(index)}>`).join(", ");
    const old = map(`iommu-map = ${rows((index) => `${index} &i2 ${index + 7} 1`)};`);
    expect(old.problem).toBeUndefined();
    expect(old.entries.map(({ output, rest, length }) => [output, rest, length])).toEqual(
      Array.from({ length: count }, (_, index) => [index + 7, [], 1]),
    );
    const wide = map(`iommu-map = ${rows((index) => `${index} &i2 ${index + 7} 0 1`)};`);
    expect(wide.problem).toBeUndefined();
    expect(wide.entries.map(({ output, rest }) => [output, rest])).toEqual(
      Array.from({ length: count }, (_, index) => [index + 7, [0]]),
    );
  });

  it("of old rows to different targets is none", () => {
    const twins = "x: x { #iommu-cells = <2>; }; y: y { #iommu-cells = <2>; };";
    const found = new IdMap(
      node(`${twins} bus { iommu-map = <0 &x 5 1>, <1 &y 6 1>; };`, "/bus").required("iommu-map"),
      "#iommu-cells",
    );
    expect(found.problem).toMatch(/row 2|phandle/);
  });
});

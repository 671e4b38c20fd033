import { describe, expect, it } from "vitest";
import type { TreeNode } from "../../src/devicetree/node.js";
import { parseSource } from "../../src/devicetree/source.js";
import type { DeviceTree } from "../../src/devicetree/tree.js";
import { refused } from "./refused.js";

const tree = (body: string): DeviceTree => parseSource(`/dts-v1/; / { ${body} };`);
const node = (body: string, path: string): TreeNode => {
  const found = tree(body).find(path);
  if (found === undefined) throw new Error(`no ${path}`);
  return found;
};

describe("a node", () => {
  it("knows its name, path and neighbours", () => {
    const { root } = tree("soc { smmu0: iommu@c000000 { }; };");
    const iommu = root.child("soc")?.child("iommu@c000000");
    expect(iommu).toMatchObject({
      path: "/soc/iommu@c000000",
      baseName: "iommu",
      unitAddress: "c000000",
      labels: ["smmu0"],
    });
    expect(iommu?.parent?.parent).toBe(root);
    expect(root).toMatchObject({ path: "/", name: "", unitAddress: undefined });
    expect([...root.subtree()].map(({ path }) => path)).toEqual(["/", "/soc", "/soc/iommu@c000000"]);
  });

  it("is enabled when it and everything above is okay", () => {
    const { root } = tree(`on { }; ok { status = "ok"; }; off { status = "disabled"; below { status = "okay"; }; };
      kept { status = "reserved"; }; broken { status = "fail-sss"; };`);
    expect(root.children.map(({ isEnabled }) => isEnabled)).toEqual([true, true, false, false, false]);
    expect(root.tree.find("/off/below")).toMatchObject({ status: "okay", isEnabled: false });
    expect(root.tree.find("/ok")?.status).toBe("okay");
  });

  it("may be without a property, or inherit it", () => {
    const soc = node("dma-coherent; soc { a { }; };", "/soc/a");
    expect(soc.inherited("dma-coherent")?.node.path).toBe("/");
    expect(soc.inherited("msi-parent")).toBeUndefined();
    expect(refused(() => soc.required("reg"))).toBe("device tree: /soc/a: reg is missing");
  });
});

describe("a property", () => {
  it("is what its reader takes it for", () => {
    const a = node('a { one = <5>; two = <1 2>; text = "x"; texts = "x", "", "z"; empty; odd = [01]; };', "/a");
    expect(a.required("one").cell).toBe(5);
    expect(a.required("one").u64).toBe(5n);
    expect(a.required("two").u64).toBe(0x1_0000_0002n);
    expect(a.required("two").cells).toEqual([1, 2]);
    expect(a.required("text").text).toBe("x");
    expect(a.required("texts").texts).toEqual(["x", "", "z"]);
    expect(a.required("empty").texts).toEqual([]);
    expect(refused(() => a.required("odd").cells)).toMatch(/\/a: odd has 1 bytes/);
    expect(refused(() => a.required("two").cell)).toMatch(/\/a: two should be one 32-bit cell/);
    expect(refused(() => a.required("empty").u64)).toMatch(/empty should be one number/);
    expect(refused(() => a.required("texts").text)).toMatch(/texts should be one string/);
    expect(refused(() => a.required("two").texts)).toMatch(/two should be text/);
  });

  it("has arguments as wide as the node they are for says", () => {
    const a = node(
      `x: x { #iommu-cells = <0>; }; y: y { #iommu-cells = <2>; }; a { iommus = <&x>, <&y 1 2>, <&x>; };`,
      "/a",
    );
    const found = a.required("iommus").references("#iommu-cells");
    expect(found.map(({ node: { path }, args }) => [path, ...args])).toEqual([["/x"], ["/y", 1, 2], ["/x"]]);
  });

  it.each([
    ["<&x>", /\/a: iommus ends after 0 of the 1 cells that follow \/x \(its #iommu-cells\)/],
    ["<&x 1 0x99>", /\/a: iommus refers to phandle 0x99, which no node has/],
    ["<0>", /phandle 0x0, which no node has/],
    ["<&y 1>", /\/a: iommus refers to \/y, which has no #iommu-cells/],
    ['"abc", "d"', /6 bytes/],
  ])("refuses references that do not fit: %s", (iommus, message) => {
    const a = node(`x: x { #iommu-cells = <1>; }; y: y { }; a { iommus = ${iommus}; };`, "/a");
    expect(refused(() => a.required("iommus").references("#iommu-cells"))).toMatch(message);
  });

  it("names nodes by phandle", () => {
    const a = node("x: x { }; y: y { }; a { one = <&x>; more = <&y &x>; wrong = <77>; };", "/a");
    expect(a.required("one").target.path).toBe("/x");
    expect(a.required("more").targets.map(({ path }) => path)).toEqual(["/y", "/x"]);
    expect(refused(() => a.required("wrong").target)).toMatch(/0x4d, which no node has/);
  });
});

describe("an address", () => {
  it("has as many cells as the parent says", () => {
    const two = "#address-cells = <2>; #size-cells = <2>; a { reg = <1 2 3 4>, <0 5 0 6>; };";
    expect(node(two, "/a").reg).toEqual([
      { address: 0x1_0000_0002n, size: 0x3_0000_0004n },
      { address: 5n, size: 6n },
    ]);
    expect(node("#address-cells = <1>; #size-cells = <0>; a { reg = <1 2>; };", "/a").reg).toEqual([
      { address: 1n, size: 0n },
      { address: 2n, size: 0n },
    ]);
    // Two and one where nothing is said.
    expect(node("a { reg = <1 2 3>; };", "/a").reg).toEqual([{ address: 0x1_0000_0002n, size: 3n }]);
    expect(refused(() => node("a { reg = <1 2>; };", "/a").reg)).toMatch(/2 cells, which are no whole rows of 2 \+ 1/);
    expect(refused(() => node("#address-cells = <5>; a { reg = <1>; };", "/a").reg)).toMatch(
      /\/: #address-cells should be/,
    );
  });

  it("goes through the ranges of every bus above", () => {
    const body = `#address-cells = <2>; #size-cells = <2>;
      soc { #address-cells = <1>; #size-cells = <1>; ranges = <0x0 0x1 0x0 0x1000>, <0x10000 0x2 0x0 0x1000>;
        same { #address-cells = <1>; #size-cells = <1>; ranges; a@10800 { reg = <0x10800 8>, <0x20 4>, <0x5000 4>; }; };
        apart { #address-cells = <1>; #size-cells = <0>; b@1 { reg = <1>; }; };
      };
      c@7 { reg = <0 7 0 1>; };`;
    expect(node(body, "/soc/same/a@10800").cpuAddresses).toEqual([
      { address: 0x2_0000_0800n, size: 8n },
      { address: 0x1_0000_0020n, size: 4n },
      undefined,
    ]);
    expect(node(body, "/soc/apart/b@1").cpuAddresses).toEqual([undefined]);
    expect(node(body, "/c@7").cpuAddresses).toEqual([{ address: 7n, size: 1n }]);
    expect(refused(() => node(body.replace("<0x0 0x1 ", "<0x0 "), "/soc/same/a@10800").cpuAddresses)).toMatch(
      /\/soc: ranges/,
    );
  });

  it("on PCI is in one of three spaces", () => {
    const reg = "<0x800 0 0 0 0>, <0x02000810 0 0x100 0 16>, <0x03000000 0x80 0x10 0 4>, <0x01000000 0 0x20 0 4>";
    const body = `#address-cells = <2>; #size-cells = <2>;
      pcie { #address-cells = <3>; #size-cells = <2>;
        ranges = <0x01000000 0 0 0 0x3eff0000 0 0x10000>, <0x02000000 0 0 0 0x10000000 0 0x1000>,
                 <0x43000000 0x80 0 0x80 0 0x80 0>;
        port { #address-cells = <3>; #size-cells = <2>; ranges; f { reg = ${reg}; }; }; };`;
    const addresses = node(body, "/pcie/port/f").cpuAddresses.map((range) => range?.address);
    expect(addresses).toEqual([undefined, 0x1000_0100n, 0x80_0000_0010n, 0x3eff_0020n]);
  });
});

describe("a device tree", () => {
  it("finds nodes by path, alias, phandle, label and what they are compatible with", () => {
    const all = tree(`aliases { phandle = <9>; x = &y; z = "x/sub"; gone = "/not/there"; };
      y: y { compatible = "a", "b"; sub { compatible = "b"; status = "disabled"; }; }; user { to = <&y>; };`);
    expect(all.find("/")).toBe(all.root);
    expect(all.find("/y/sub")?.path).toBe("/y/sub");
    expect(all.find("x")?.path).toBe("/y");
    expect(all.find("z")?.path).toBe("/y/sub");
    expect(all.alias("x")?.path).toBe("/y");
    for (const missing of ["/y/none", "none", "gone", "x/none", "phandle"]) expect(all.find(missing)).toBeUndefined();
    expect(all.alias("x/sub")).toBeUndefined();
    expect(all.byPhandle(1)?.path).toBe("/y");
    expect(all.byPhandle(2)).toBeUndefined();
    expect(all.byLabel("y")?.path).toBe("/y");
    expect(all.byCompatible("b").map(({ path }) => path)).toEqual(["/y", "/y/sub"]);
  });

  it("follows aliases through any number of others", () => {
    const count = 20_000;
    const links = Array.from({ length: count }, (_, index) => `a${index} = "a${index + 1}";`).join(" ");
    const chain = (end: string) => tree(`aliases { ${links} ${end} }; y { sub { }; };`);
    const all = chain(`a${count} = "/y";`);
    for (const name of ["a0/sub", "a7/sub", `a${count}/sub`]) expect(all.find(name)?.path).toBe("/y/sub");
    expect(chain("").find("a0")).toBeUndefined();
    expect(refused(() => chain(`a${count} = "a${count - 1}";`))).toMatch(
      `the alias a${count - 1} leads back to itself (a${count - 1} → a${count} → a${count - 1})`,
    );
  });

  it("follows each alias with what comes after it", () => {
    const all = tree('aliases { x = "y/b"; y = "z/a"; z = "/n"; lost = "none/a"; }; n { a { b { c { }; }; }; };');
    expect(all.find("x/c")?.path).toBe("/n/a/b/c");
    expect(all.find("lost")).toBeUndefined();
  });

  it("knows the labels that dtc -@ keeps", () => {
    expect(tree('__symbols__ { smmu0 = "/a"; }; a { };').byLabel("smmu0")?.path).toBe("/a");
  });

  it.each([
    ['aliases { a = "a"; };', /\/aliases: the alias a leads back to itself \(a → a\)/],
    ['aliases { x = "a/b"; a = "b/c"; b = "a"; };', /the alias a leads back to itself \(a → b → a\)/],
    ["a { phandle = <0>; };", /\/a: 0x0 is not valid as a phandle/],
    ["a { phandle = <0xffffffff>; };", /0xffffffff is not valid/],
    ["a { linux,phandle = <1>; phandle = <2>; };", /\/a: phandle and linux,phandle differ/],
    ["aliases { a = <1>; };", /\/aliases: a should be text/],
  ])("refuses %s", (body, message) => {
    expect(refused(() => tree(body))).toMatch(message);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TOKEN } from "../../src/devicetree/blob-format.js";
import { encodeBlob } from "../../src/devicetree/blob-writer.js";
import { parseSource } from "../../src/devicetree/source.js";
import type { Topology, TopologyDevice } from "../../src/topology/topology.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";
import { refused } from "../devicetree/refused.js";

/** What a reader of real trees can stumble over, beyond what device-tree.test.ts has; numbered alike. */
const source = (nodes: string) => `/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; ${nodes} };`;
const board = (nodes: string): Topology => topologyOfDeviceTree(source(nodes), "board");

const find = ({ devices }: Topology, path: string): TopologyDevice => {
  const found = devices.find((each) => each.path === path);
  expect(found, path).toBeDefined();
  return found!;
};
const iommu = (label: string, cells: number, more = "", compatible = "arm,smmu-v3") =>
  `${label}: iommu-${label} { compatible = "${compatible}"; #iommu-cells = <${cells}>; ${more} };`;

describe("1: how many cells an entry has is its target's business", () => {
  it("in any mixture of them", () => {
    const entry = fc.tuple(fc.nat(3), fc.array(fc.nat(0xffff_ffff), { minLength: 3, maxLength: 3 }));
    const nodes = [0, 1, 2, 3].map((cells) => iommu(`i${cells}`, cells)).join(" ");
    fc.assert(
      fc.property(fc.array(entry, { minLength: 1, maxLength: 8 }), (entries) => {
        const text = entries.map(([cells, args]) => `<&i${cells} ${args.slice(0, cells).join(" ")}>`).join(", ");
        const { links } = find(board(`${nodes} d { iommus = ${text}; };`), "/d");
        const expected = [...new Set(entries.map(([cells]) => cells))].map((cells) => ({
          iommu: `/iommu-i${cells}`,
          ids: entries
            .filter((each) => each[0] === cells && cells > 0)
            .map(([, [first, ...rest]]) => ({ first, count: 1, rest: rest.slice(0, cells - 1) })),
        }));
        const found = links.map((link) => ({
          iommu: link.iommu,
          ids: link.ids.map(({ first, count, rest = [] }) => ({ first, count, rest })),
        }));
        expect(found).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });
});

describe("2: rows of iommu-map have four cells or five", () => {
  const nodes = `${iommu("one", 1)} ${iommu("two", 2, "", "arm,mmu-500")}`;
  const rowsOf = (rows: readonly string[]) =>
    find(board(`${nodes} host { iommu-map = ${rows.join(", ")}; };`), "/host");
  const list = <T>(count: number, of: (index: number) => T) => Array.from({ length: count }, (_, index) => of(index));

  it.each([
    [20, 5],
    [40, 10],
    [80, 20],
  ])("%i cells are rows of four where each maps one ID to the same target", (cells, count) => {
    const { links } = rowsOf(list(count, (index) => `<${index} &two ${0x100 + index} 1>`));
    expect(cells).toBe(4 * count);
    expect(links[0]?.ids).toEqual(list(count, (index) => ({ input: index, first: 0x100 + index, count: 1 })));
  });

  it.each([
    [20, 4],
    [40, 8],
    [80, 16],
  ])("%i cells are rows of five where they do not look so", (cells, count) => {
    const { links } = rowsOf(list(count, (index) => `<${index} &two ${0x100 + index} 0x3f 1>`));
    expect(cells).toBe(5 * count);
    expect(links[0]?.ids).toEqual(
      list(count, (index) => ({ input: index, first: 0x100 + index, count: 1, rest: [0x3f] })),
    );
  });

  it("are of both widths in one map, if they lead to both kinds", () => {
    const { links } = rowsOf(["<0 &one 7 0x10>", "<0x10 &two 8 0x3f 1>", "<0x20 &one 9 1>"]);
    expect(links.map(({ ids }) => ids.map(({ first }) => first))).toEqual([[7, 9], [8]]);
  });

  it("of four cells for a range of wide IDs are refused, as Linux does", () => {
    const topology = board(`${nodes} host { iommu-map = <0 &two 0 0x10000>; };`);
    expect(find(topology, "/host").links).toEqual([]);
    expect(topology.findings).toMatchObject([{ id: "malformed", severity: "warning", about: "/host" }]);
    expect(topology.findings[0]?.text).toMatch(/iommu-map ends within row 1/);
  });

  it("of five cells for a range of wide IDs connect nothing", () => {
    const topology = board(`${nodes} host { iommu-map = <0 &two 0 0x3f 0x10>; };`);
    expect(find(topology, "/host").links).toMatchObject([{ iommu: "/iommu-two", used: false }]);
    expect(topology.findings.map(({ id }) => id)).toEqual(["wide-map-row"]);
  });

  it("have three cells where the target has no IDs", () => {
    const { links } = find(board(`${iommu("none", 0)} host { iommu-map = <0 &none 0x100>; };`), "/host");
    expect(links).toMatchObject([{ iommu: "/iommu-none", used: true, ids: [{ input: 0, count: 0x100 }] }]);
  });

  it("count up to one that cannot be followed", () => {
    const topology = board(`${nodes} plain: plain {};
      a { iommu-map = <0 &one 5 1>, <1 0x99 6 1>, <2 &one 7 1>; };
      b { iommu-map = <0 &one 5 1>, <1 &one 6>; };
      c { iommu-map = <0 &plain 5 1>, <1 &one 6 1>; };`);
    expect(find(topology, "/a").links).toMatchObject([{ used: true, ids: [{ first: 5 }] }]);
    expect(find(topology, "/b").links).toMatchObject([{ used: true, ids: [{ first: 5 }] }]);
    // A row for what is no IOMMU has a width, and those behind it count.
    expect(find(topology, "/c").links).toMatchObject([{ iommu: "/iommu-one", used: true, ids: [{ first: 6 }] }]);
    const texts = topology.findings.map(({ text }) => text);
    expect(texts).toHaveLength(3);
    expect(texts[0]).toMatch(/\/a: iommu-map refers to phandle 0x99/);
    expect(texts[1]).toMatch(/\/b: iommu-map ends within row 2/);
    expect(texts[2]).toMatch(/\/c: iommu-map refers to \/plain, which has no #iommu-cells/);
  });
});

describe("3: a map need not be PCI's", () => {
  it.each(["host1x", "fsl-mc", "dma-controller", "pcie-ep"])("%s", (name) => {
    const topology = board(`${iommu("a", 1)} ${iommu("b", 1)} ${name} { iommus = <&a 1>; iommu-map = <0 &b 2 1>; };`);
    expect(find(topology, `/${name}`)).toMatchObject({
      bus: "platform",
      isBus: true,
      links: [
        { via: "iommus", iommu: "/iommu-a" },
        { via: "iommu-map", iommu: "/iommu-b" },
      ],
    });
  });
});

describe("4: masks, lengths and wide IDs", () => {
  const pci = (map: string, functions: string) => `${iommu("a", 1)} ${iommu("b", 1)}
    pcie { device_type = "pci"; #address-cells = <3>; #size-cells = <2>; linux,pci-domain = <0>; bus-range = <0 0xff>;
      ${map} ${functions} };`;
  const fn = (id: number) => `f@${id.toString(16)} { reg = <${id << 8} 0 0 0 0>; };`;

  it("leave one ID of all where the mask is 0", () => {
    const topology = board(pci("iommu-map = <0 &a 0x13 0x1000>; iommu-map-mask = <0>;", fn(0x1f8)));
    expect(find(topology, "/pcie/f@1f8").links).toMatchObject([{ ids: [{ first: 0x13, count: 1 }], used: true }]);
  });

  it.each([
    [0x1ff, 0x208, 0x8],
    [0x31f, 0x2e8, 0x208],
    [0xff00, 0x1ff, 0x100],
  ])("leave the bits of mask %i", (mask, id, masked) => {
    const topology = board(pci(`iommu-map = <0 &a 0x10000 0x10000>; iommu-map-mask = <${mask}>;`, fn(id)));
    const path = `/pcie/f@${id.toString(16)}`;
    expect(find(topology, path).links).toMatchObject([{ ids: [{ first: 0x10000 + masked }] }]);
  });

  it("make Linux stop at a row that lies outside the mask", () => {
    const topology = board(pci("iommu-map = <0 &a 1 1>, <0x100 &b 2 1>, <8 &b 3 1>; iommu-map-mask = <0xff>;", fn(8)));
    expect(find(topology, "/pcie").links.map(({ iommu: path, used }) => [path, used])).toEqual([
      ["/iommu-a", true],
      ["/iommu-b", false],
    ]);
    expect(find(topology, "/pcie/f@8").links).toEqual([]);
    expect(topology.findings.map(({ id }) => id)).toEqual(["masked-map-row"]);
  });

  it("of 0 map nothing, and IDs have up to 32 bits", () => {
    const topology = board(pci("iommu-map = <0 &b 0 0>, <8 &a 0xfffffff0 1>;", fn(8) + fn(0)));
    expect(find(topology, "/pcie").links).toMatchObject([{ used: false }, { used: true }]);
    expect(find(topology, "/pcie/f@8").links).toMatchObject([{ ids: [{ first: 0xffff_fff0 }] }]);
    expect(find(topology, "/pcie/f@0").links).toEqual([]);
  });
});

describe("5: IOMMUs are told by #iommu-cells", () => {
  it.each(["m4u", "sysmmu", "infra-iommu", "memory-controller", "whatever"])("called %s", (name) => {
    const topology = board(`${name}@1000 { #iommu-cells = <1>; reg = <0 0x1000 0 0x10>; };`);
    expect(topology.iommus.map(({ path }) => path)).toEqual([`/${name}@1000`]);
  });

  it.each([
    'pmu@1000 { compatible = "arm,smmu-v3-pmcg"; reg = <0 0x1000 0 0x10>; };',
    'iommu-ctx@1000 { compatible = "qcom,msm-iommu-v1-ns"; reg = <0 0x1000 0 0x10>; };',
    'iommu@1000 { compatible = "arm,smmu-v3"; };',
  ])("and not without: %s", (node) => {
    expect(board(node).iommus).toEqual([]);
  });
});

describe("6: what is not okay is off", () => {
  it.each(["reserved", "fail", "fail-needs-probe", "disabled", "OKAY", "okay ", "fail-sss"])("%s", (status) => {
    const topology = board(`${iommu("a", 1, `status = "${status}";`)} d { iommus = <&a 1>; };
      host { iommu-map = <0 &a 0 1>; };`);
    expect(topology.iommus[0]).toMatchObject({ enabled: false, disabledBecause: `its status is ${status}` });
    for (const path of ["/d", "/host"]) expect(find(topology, path).links[0]?.used).toBe(false);
    expect(topology.findings.map(({ id }) => id)).toEqual(["disabled-iommu", "disabled-iommu"]);
  });

  it("nor is what is below it", () => {
    const topology = board(`bus { status = "fail"; inner { ${iommu("a", 1)} d { iommus = <&a 1>; }; }; };`);
    expect(topology.iommus[0]?.disabledBecause).toBe("the status of /bus is fail");
    expect(find(topology, "/bus/inner/d")).toMatchObject({ enabled: false, links: [{ used: false }] });
  });
});

describe("7: who shares an ID with whom", () => {
  const nodes = `${iommu("a", 1)} ${iommu("b", 1)} ${iommu("w", 2, "", "arm,mmu-500")}`;

  it.each([
    ["x { iommus = <&a 1>; }; y { iommus = <&b 1>; };", []],
    ["x { iommus = <&a 1>; }; y { iommus = <&a 2>; };", []],
    ["x { iommus = <&w 1 0x3f>; }; y { iommus = <&w 1 0>; };", []],
    ["x { iommus = <&w 1 0x3f>; }; y { iommus = <&w 1 0x3f>; };", ["shared-id"]],
    ["x { iommus = <&a 1>, <&a 1>; };", ["repeated-id"]],
    ['x { iommus = <&a 1>; }; y { iommus = <&a 1>; status = "disabled"; };', []],
  ])("%s", (masters, findings) => {
    expect(board(`${nodes} ${masters}`).findings.map(({ id }) => id)).toEqual(findings);
  });

  it("is not asked of an IOMMU without IDs, nor of one without a phandle", () => {
    const topology = board(`${iommu("z", 0)} x { iommus = <&z>; }; y { iommus = <&z>; };
      iommu@9 { #iommu-cells = <1>; };`);
    expect(topology.findings).toEqual([]);
    expect(topology.iommus).toHaveLength(2);
  });
});

describe("8: a path identifies, not a name", () => {
  it("also where unit addresses have commas, and a bus of its own", () => {
    const core = (name: string, reg: string) => `jpgdec@${name} { iommus = <&a 1>; reg = <${reg} 0 0x100>; };`;
    const topology =
      board(`${iommu("a", 1)} dec@1000 { #address-cells = <2>; #size-cells = <2>; reg = <0 0x1000 0 0x10>;
      ranges = <0 0 0 0x2000 0 0x10000>, <1 0 0 0x80000 0 0x10000>; ${core("0,0", "0 0")} ${core("0,8000", "0 0x8000")}
      ${core("1,0", "1 0")} };`);
    expect(topology.devices.map(({ name, path }) => [name, path])).toEqual([
      ["2000.jpgdec", "/dec@1000/jpgdec@0,0"],
      ["a000.jpgdec", "/dec@1000/jpgdec@0,8000"],
      ["80000.jpgdec", "/dec@1000/jpgdec@1,0"],
    ]);
    expect(topology.aliases).toEqual(new Map());
  });
});

describe("9: iommu-addresses", () => {
  const reserved = (bus: string, rows: string) =>
    find(
      board(`${iommu("a", 1)} bus { ${bus} d: d { iommus = <&a 1>; memory-region = <&kept>; }; other: other {}; };
        reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; kept: kept { iommu-addresses = ${rows}; }; };`),
      "/bus/d",
    ).reserved;
  const at = (start: bigint, end: bigint) => [{ start, end, type: "reserved" }];

  it("have the address and size cells of the bus of each owner", () => {
    expect(reserved("#address-cells = <1>; #size-cells = <2>;", "<&other 1 2 3>, <&d 0x1000 0 0x10>")).toEqual(
      at(0x1000n, 0x100fn),
    );
    expect(reserved("", "<&d 1 0x2000 0x10>")).toEqual(at(0x1_0000_2000n, 0x1_0000_200fn));
  });

  it("are what the root sees through dma-ranges", () => {
    const bus = "#address-cells = <1>; #size-cells = <1>;";
    const ranges = "dma-ranges = <0x40000000 0x1 0x0 0x10000000>;";
    expect(reserved(`${bus} ${ranges}`, "<&d 0x40001000 0x10>")).toEqual(at(0x1_0000_1000n, 0x1_0000_100fn));
    expect(reserved(`${bus} dma-ranges;`, "<&d 0x40001000 0x10>")).toEqual(at(0x4000_1000n, 0x4000_100fn));
    expect(reserved(bus, "<&d 0x40001000 0x10>")).toEqual(at(0x4000_1000n, 0x4000_100fn));
    expect(reserved(`${bus} ${ranges}`, "<&d 0x1000 0x10>")).toEqual([]);
  });

  it("of no size, or for others, are none", () => {
    expect(reserved("", "<&d 0 0x1000 0>")).toEqual([]);
    expect(reserved("", "<&other 0 0x1000 0x10>")).toEqual([]);
    expect(reserved("", "<0x99 0 0x1000 0x10>")).toEqual([]);
  });
});

describe("10: the rest of a tree", () => {
  it("may have addresses of one cell at the root", () => {
    const text = `/dts-v1/; / { #address-cells = <1>; #size-cells = <1>; memory@0 { device_type = "memory"; reg = <0 0x8000000>; };
      a: iommu@c0000000 { compatible = "arm,smmu-v3"; #iommu-cells = <1>; reg = <0xc0000000 0x20000>; };
      dev@1000 { iommus = <&a 1>; reg = <0x1000 0x10>; }; };`;
    const topology = topologyOfDeviceTree(text);
    expect(topology.iommus[0]?.addresses).toEqual([0xc000_0000n]);
    expect(topology.devices[0]?.name).toBe("1000.dev");
    expect(topology.memory).toEqual([{ start: 0n, size: 0x800_0000n }]);
  });

  it("may have labels, reserved memory without reg, and aliases to what is off", () => {
    const topology = board(`__symbols__ { a = "/iommu-a"; gone = "/nowhere"; };
      aliases { d = "/d"; gone = "/nowhere"; };
      reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; pool: pool { size = <0 0x1000>; reusable; }; };
      ${iommu("a", 1)} d { iommus = <&a 1>; memory-region = <&pool>; status = "disabled"; };`);
    expect(find(topology, "/d").reserved).toEqual([]);
    expect(topology.aliases?.get("d")).toBe("/d");
    expect(topology.findings).toEqual([]);
  });
});

describe("11: what no board has, and some tree will", () => {
  const nodes = `${iommu("a", 1)} ${iommu("b", 1)} plain { extra = "x"; };
    d { iommus = <&a 1>; gone = <&b 2>; compatible = "acme,d"; }; e { iommus = <&b 2>; };`;

  /** As libfdt deletes without moving anything: each token of what is deleted becomes a NOP. */
  function withNops(blob: Uint8Array, isDeleted: (word: number, at: number, words: DataView) => number): Uint8Array {
    const copy = blob.slice();
    const view = new DataView(copy.buffer);
    const start = view.getUint32(8);
    for (let at = start; at < start + view.getUint32(36); at += 4) {
      const bytes = isDeleted(view.getUint32(at), at, view);
      for (let each = at; each < at + bytes; each += 4) view.setUint32(each, TOKEN.NOP);
    }
    return copy;
  }

  /** The NUL-terminated text at an offset. */
  const textAt = (view: DataView, at: number) => {
    const bytes = new Uint8Array(view.buffer, at);
    return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
  };

  it("NOPs in place of a property and of a node", () => {
    const blob = encodeBlob(parseSource(source(nodes)));
    const nopped = withNops(blob, (word, at, view) => {
      if (word === TOKEN.PROP && textAt(view, view.getUint32(12) + view.getUint32(at + 8)) === "gone") {
        return 12 + view.getUint32(at + 4);
      }
      // "plain" takes two words, its property 12 bytes and a padded "x", its end one more.
      return word === TOKEN.BEGIN_NODE && textAt(view, at + 4) === "plain" ? 4 + 8 + 16 + 4 : 0;
    });
    expect(nopped).not.toEqual(blob);
    const without = source(nodes.replace(' plain { extra = "x"; };', "").replace("gone = <&b 2>;", ""));
    expect(topologyOfDeviceTree(nopped, "x")).toEqual(topologyOfDeviceTree(without, "x"));
  });

  it("version 16, bytes behind the end", () => {
    const blob = encodeBlob(parseSource(source(nodes)));
    const expected = topologyOfDeviceTree(blob, "x");
    const old = blob.slice();
    new DataView(old.buffer).setUint32(20, 16);
    new DataView(old.buffer).setUint32(36, 0xdead_beef);
    expect(topologyOfDeviceTree(old, "x")).toEqual(expected);
    const longer = new Uint8Array(blob.length + 4096).fill(0xff);
    longer.set(blob);
    expect(topologyOfDeviceTree(longer, "x")).toEqual(expected);
  });

  it.each([3, 15, 99])("version %i is refused", (version) => {
    const blob = encodeBlob(parseSource(source(nodes)));
    new DataView(blob.buffer).setUint32(20, version);
    new DataView(blob.buffer).setUint32(24, version);
    expect(refused(() => topologyOfDeviceTree(blob))).toMatch(new RegExp(`version ${version}`));
  });

  it("phandle 0 ends a list, and means nothing in a map", () => {
    const topology = board(`${iommu("a", 1)} d { iommus = <0>, <&a 1>; }; e { iommus = <&a 2>, <0 1>, <&a 3>; };
      host { iommu-map = <0 0 0 1>, <1 &a 1 1>; };`);
    expect(find(topology, "/d").links).toEqual([]);
    expect(find(topology, "/e").links).toMatchObject([{ ids: [{ first: 2 }] }]);
    expect(find(topology, "/host").links).toEqual([]);
    expect(topology.findings.map(({ id }) => id)).toEqual(["malformed", "malformed", "malformed"]);
  });

  it("linux,phandle for an IOMMU, alone and beside phandle", () => {
    const node = (properties: string) => `iommu { compatible = "arm,smmu-v3"; #iommu-cells = <1>; ${properties} };`;
    for (const properties of ["linux,phandle = <7>;", "linux,phandle = <7>; phandle = <7>;"]) {
      expect(find(board(`${node(properties)} d { iommus = <7 1>; };`), "/d").links).toMatchObject([{ used: true }]);
    }
    expect(refused(() => board(node("linux,phandle = <7>; phandle = <8>;")))).toMatch(/differ/);
  });

  it("a phandle twice is refused, whichever property has it", () => {
    expect(refused(() => board("a { phandle = <5>; }; b { linux,phandle = <5>; };"))).toMatch(
      "/b: has phandle 0x5, which is /a's already",
    );
  });

  it("mmu-masters count up to one that cannot be followed; the first SMMU that names a master has it", () => {
    const smmu = (name: string, masters: string) =>
      `${name} { compatible = "arm,mmu-400"; mmu-masters = ${masters}; };`;
    const topology = board(`x: x { #stream-id-cells = <2>; }; y: y { #stream-id-cells = <1>; }; z: z {};
      ${smmu("s0", "<&x 1 2>, <0x99 3>, <&y 4>")} ${smmu("s1", "<&y 5>, <&x 6 7>, <&z>")} ${smmu("s2", "<&y>")}`);
    expect(topology.iommus.map(({ path }) => path)).toEqual(["/s0", "/s1", "/s2"]);
    expect(find(topology, "/x").links).toMatchObject([
      { iommu: "/s0", used: true, via: "mmu-masters", ids: [{ first: 1 }, { first: 2 }] },
      { iommu: "/s1", used: false, ids: [{ first: 6 }, { first: 7 }] },
    ]);
    expect(find(topology, "/y").links).toMatchObject([{ iommu: "/s1", used: true, ids: [{ first: 5 }] }]);
    expect(topology.devices.map(({ path }) => path)).toEqual(["/x", "/y"]);
  });

  it("an IOMMU that is listed again: the driver that takes the last takes that of the last entry", () => {
    const last = (label: string) => iommu(label, 0, "", "rockchip,iommu");
    const topology = board(`${last("p")} ${last("q")} d { iommus = <&p &q &p>; };`);
    expect(find(topology, "/d").links.map(({ used }) => used)).toEqual([true, false]);
  });
});

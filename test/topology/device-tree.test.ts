import { describe, expect, it } from "vitest";
import { encodeBlob } from "../../src/devicetree/blob-writer.js";
import { parseSource } from "../../src/devicetree/source.js";
import type { Topology, TopologyDevice } from "../../src/topology/topology.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";
import { refused } from "../devicetree/refused.js";

/** A board with these nodes on its bus; read as a source and as a blob, which must say the same. */
function board(nodes: string): Topology {
  const source = `/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; ${nodes} };`;
  const topology = topologyOfDeviceTree(source, "board");
  expect(topologyOfDeviceTree(encodeBlob(parseSource(source)), "board")).toEqual(topology);
  return topology;
}

const iommu = (label: string, address: string, cells: number, more = "", compatible = "arm,smmu-v3") =>
  `${label}: iommu@${address} { compatible = "${compatible}"; reg = <0 0x${address} 0 0x20000>; #iommu-cells = <${cells}>; ${more} };`;
const a = iommu("a", "1000000", 1);
const b = iommu("b", "2000000", 1);
const device = (name: string, more: string) => `${name} { compatible = "acme,${name}"; ${more} };`;

const find = ({ devices }: Topology, name: string): TopologyDevice => {
  const found = devices.find((each) => each.name === name);
  expect(found, name).toBeDefined();
  return found!;
};
const ids = ({ findings }: Topology) => findings.map(({ id }) => id);

describe("the topology of a device tree", () => {
  it("1: takes as many cells as the target of each entry has", () => {
    const topology =
      board(`${iommu("z", "3000000", 0, "", "rockchip,iommu")} ${iommu("y", "4000000", 0, "", "rockchip,iommu")}
      ${a} ${iommu("w", "5000000", 2, "", "arm,mmu-500")}
      ${device("d0", "iommus = <&z &y>;")} ${device("d1", "iommus = <&a 7>, <&a 8>;")} ${device("d2", "iommus = <&w 0x20 0x3ff>;")}`);
    expect(find(topology, "d0").links.map(({ ids: own }) => own)).toEqual([[], []]);
    expect(find(topology, "d1").links).toMatchObject([{ ids: [{ first: 7 }, { first: 8 }] }]);
    expect(find(topology, "d2").links).toMatchObject([{ ids: [{ first: 0x20, rest: [0x3ff] }] }]);
  });

  it("2: reads rows of iommu-map with four and with five cells, whichever name an IOMMU", () => {
    const two = iommu("w", "5000000", 2, "", "arm,mmu-500");
    const row = (wide: boolean) =>
      Array.from({ length: 20 }, (_, index) => `<${index} &w ${index} ${wide ? "0 1" : "1"}>`).join(", ");
    for (const wide of [false, true]) {
      const topology = board(`${two} ${device("host", `iommu-map = ${row(wide)};`)}`);
      const [link] = find(topology, "host").links;
      expect(link?.ids).toHaveLength(20);
      expect(link?.ids[19]).toEqual({ input: 19, first: 19, count: 1, ...(wide ? { rest: [0] } : {}) });
    }
  });

  it("3: knows maps of what is no PCI host, beside iommus of its own", () => {
    const topology = board(
      `${a} ${b} ${device("host1x", "iommus = <&a 1>; iommu-map = <0 &a 0x35 1>, <1 &b 0x36 1>;")}`,
    );
    const host = find(topology, "host1x");
    expect(host).toMatchObject({ isBus: true, bus: "platform" });
    expect(host.links.map(({ via, iommu: path }) => [via, path])).toEqual([
      ["iommus", "/iommu@1000000"],
      ["iommu-map", "/iommu@1000000"],
      ["iommu-map", "/iommu@2000000"],
    ]);
    expect(ids(topology)).toEqual(["own-and-others"]);
  });

  it.each([
    ["0x0", "<0 &a 5 0x1000>", "masked-map-row", /4096 IDs, and iommu-map-mask 0 makes them all one/],
    ["0xff", "<0x100 &a 5 1>", "masked-map-row", /outside iommu-map-mask/],
    ["0xffff", "<0 &a 0x12345678 0>", "empty-map-row", /length 0/],
  ])("4: knows masks and lengths: %s", (mask, map, id, text) => {
    const topology = board(`${a} ${device("host", `iommu-map-mask = <${mask}>; iommu-map = ${map};`)}`);
    expect(find(topology, "host").links[0]?.mask).toBe(Number(mask));
    expect(topology.findings).toMatchObject([{ id }]);
    expect(topology.findings[0]?.text).toMatch(text);
  });

  it("5: takes for an IOMMU what has #iommu-cells, however it is called", () => {
    const topology =
      board(`m4u: memory-controller@7000000 { compatible = "mediatek,mt8195-iommu-vdo", "syscon"; #iommu-cells = <1>; };
      pmcg@8000000 { compatible = "arm,smmu-v3-pmcg"; }; iommu-ctx@9000000 { compatible = "qcom,msm-iommu-v1-ns"; };`);
    expect(topology.iommus).toMatchObject([{ path: "/memory-controller@7000000", kind: "mediatek" }]);
  });

  it.each(["disabled", "reserved", "fail", "fail-needs-probe"])("6: knows what is off: %s", (status) => {
    const topology = board(`${iommu("a", "1000000", 1, `status = "${status}";`)} ${b}
      ${device("on", "iommus = <&a 1>;")} ${device("off", `iommus = <&b 1>; status = "${status}";`)}
      bus { compatible = "simple-bus"; status = "${status}"; ${device("inside", "iommus = <&b 2>;")} };
      ${device("fine", 'iommus = <&b 3>; status = "ok";')}`);
    expect(topology.iommus[0]).toMatchObject({ enabled: false, disabledBecause: `its status is ${status}` });
    expect(find(topology, "off")).toMatchObject({ enabled: false, disabledBecause: `its status is ${status}` });
    expect(find(topology, "bus:inside").disabledBecause).toBe(`the status of /bus is ${status}`);
    expect(find(topology, "fine")).toMatchObject({ enabled: true, disabledBecause: undefined });
    expect(find(topology, "on").links[0]?.used).toBe(false);
    expect(topology.findings).toMatchObject([{ id: "disabled-iommu", about: "/on" }]);
    expect(topology.findings[0]?.text).toContain("nothing translates its DMA");
  });

  it("7: lists IOMMUs that nothing can refer to, and devices that share an ID", () => {
    const topology = board(`iommu@6000000 { compatible = "arm,smmu-v3"; #iommu-cells = <1>; }; ${a}
      ${device("d0", "iommus = <&a 0>, <&a 0>;")} ${device("d1", "iommus = <&a 9>;")} ${device("d2", "iommus = <&a 9>;")}`);
    expect(topology.iommus).toHaveLength(2);
    expect(topology.findings.map(({ text }) => text)).toEqual([
      "d0 lists ID 0x0 at smmu3.0x0000000001000000 twice or more",
      "d1 and d2 share ID 0x9 at smmu3.0x0000000001000000: the IOMMU cannot tell them apart",
    ]);
  });

  it("8: identifies by path, and tells two of one name apart", () => {
    const bus = (name: string, to: string) =>
      `${name} { compatible = "simple-bus"; #address-cells = <1>; #size-cells = <1>; ranges = <0 0 ${to} 0x8000000>;
        iommu@6000000 { compatible = "arm,smmu-v3"; #iommu-cells = <1>; reg = <0x6000000 0x1000>; };
        jpgdec@0,10000 { compatible = "acme,jpgdec"; iommus = <&a 1>; reg = <0x10000 0x100>; }; };`;
    const topology = board(`${a} ${bus("bus0", "0x10000000")} ${bus("bus1", "0x20000000")}`);
    expect(topology.iommus.map(({ name }) => name).slice(1)).toEqual([
      "smmu3.0x0000000016000000",
      "smmu3.0x0000000026000000",
    ]);
    expect(topology.devices.map(({ name, path }) => [name, path])).toEqual([
      ["10010000.jpgdec", "/bus0/jpgdec@0,10000"],
      ["20010000.jpgdec", "/bus1/jpgdec@0,10000"],
    ]);
  });

  it("9: reads iommu-addresses in the cells of the owner's bus", () => {
    const topology = board(`${a}
      soc { #address-cells = <1>; #size-cells = <1>; ranges;
        fb: fb@10000 { reg = <0x10000 0x100>; iommus = <&a 1>; memory-region = <&kept>, <&moved>; }; };
      dc: dc@20000 { reg = <0 0x20000 0 0x100>; iommus = <&a 2>; memory-region = <&kept>; };
      reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;
        kept: kept@80000000 { reg = <0 0x80000000 0 0x1000>; iommu-addresses = <&dc 0x1 0x0 0x0 0x2000>, <&fb 0x80000000 0x1000>; };
        moved: moved { iommu-addresses = <&fb 0x40000000 0x3000>; }; };`);
    expect(find(topology, "10000.fb").reserved).toEqual([
      { start: 0x8000_0000n, end: 0x8000_0fffn, type: "direct" },
      { start: 0x4000_0000n, end: 0x4000_2fffn, type: "reserved" },
    ]);
    expect(find(topology, "20000.dc").reserved).toEqual([
      { start: 0x1_0000_0000n, end: 0x1_0000_1fffn, type: "reserved" },
    ]);
  });

  it("10: is not put off by symbols, empty memory and aliases to what is off", () => {
    const topology = board(`aliases { d = "/d0"; gone = "/nowhere"; }; __symbols__ { a = "/iommu@1000000"; };
      memory@0 { device_type = "memory"; reg = <0 0 0 0>; }; memory@80000000 { device_type = "memory"; reg = <0 0x80000000 1 0>; };
      reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; cma { size = <0 0x1000>; }; };
      ${a} ${device("d0", 'iommus = <&a 1>; status = "disabled";')}`);
    expect(topology.memory).toEqual([{ start: 0x8000_0000n, size: 0x1_0000_0000n }]);
    expect(topology.findings).toEqual([]);
  });

  it("11: reads on where an entry cannot be followed, as Linux does", () => {
    const topology = board(`${a} node: node {}; ${device("d0", "iommus = <&a 1>, <0>, <&a 2>;")}
      ${device("d1", "iommus = <&a 1>, <0x999 2>;")} ${device("d2", "iommus = <&node 1>;")} ${device("d3", "iommus = <&a>;")}
      ${device("d4", "iommu-map = <0 0x999 0 1>;")} ${device("d5", "iommus = <&a 5>;")}`);
    expect(find(topology, "d0").links).toMatchObject([{ ids: [{ first: 1 }] }]);
    expect(find(topology, "d5").links).toMatchObject([{ ids: [{ first: 5 }] }]);
    expect(find(topology, "d4")).toMatchObject({ isBus: true, links: [] });
    const texts = topology.findings.filter(({ id }) => id === "malformed").map(({ text }) => text);
    expect(texts).toHaveLength(5);
    for (const [index, pattern] of [
      /phandle 0/,
      /0x999/,
      /no #iommu-cells/,
      /ends after 0 of the 1/,
      /iommu-map/,
    ].entries()) {
      expect(texts[index]).toMatch(pattern);
    }
  });

  it("11: knows linux,phandle and mmu-masters, and refuses phandles that are there twice", () => {
    const topology =
      board(`iommu@1000000 { compatible = "arm,mmu-500"; reg = <0 0x1000000 0 0x1000>; mmu-masters = <77 1 2>; };
      d0 { linux,phandle = <77>; #stream-id-cells = <2>; };`);
    expect(find(topology, "d0").links).toMatchObject([
      { iommu: "/iommu@1000000", via: "mmu-masters", ids: [{ first: 1 }, { first: 2 }], used: true },
    ]);
    expect(refused(() => board("x { phandle = <5>; }; y { phandle = <5>; };"))).toMatch(/has phandle 0x5/);
  });
});

describe("a device with several IOMMUs", () => {
  it.each([
    [
      "arm,smmu-v3",
      [true, false],
      /uses the first, smmu3.0x0000000001000000, and gives it the IDs meant for the others/,
      "warning",
    ],
    ["arm,mmu-500", [true, false], /uses the first, smmu.0x0000000001000000/, "warning"],
    ["rockchip,rk3568-iommu", [false, true], /uses the last, 2000000.iommu/, "warning"],
    ["samsung,exynos-sysmmu", [true, true], /uses all of them, with one page table/, "note"],
    ["apple,t8103-dart", [true, true], /uses all of them/, "note"],
    ["qcom,msm-iommu-v2", [false, false], /refuses more than one/, "warning"],
    ["acme,iommu", [undefined, undefined], /not known/, "warning"],
  ] as const)("%s", (compatible, used, text, severity) => {
    const topology = board(`${iommu("a", "1000000", 1, "", compatible)} ${iommu("b", "2000000", 1, "", compatible)}
      ${device("d", "iommus = <&a 1>, <&b 2>;")}`);
    expect(find(topology, "d").links.map((link) => link.used)).toEqual(used);
    expect(topology.findings).toMatchObject([{ id: "several-iommus", severity }]);
    expect(topology.findings[0]?.text).toMatch(text);
  });

  it("has none where one is off, or they have different drivers", () => {
    const off = board(
      `${a} ${iommu("b", "2000000", 1, 'status = "disabled";')} ${device("d", "iommus = <&a 1>, <&b 2>;")}`,
    );
    expect(find(off, "d").links.map(({ used }) => used)).toEqual([false, false]);
    expect(off.findings[0]?.text).toMatch(/uses none of them, since smmu3.0x0000000002000000 is disabled/);
    const mixed = board(
      `${a} ${iommu("b", "2000000", 1, "", "arm,mmu-500")} ${device("d", "iommus = <&a 1>, <&b 2>;")}`,
    );
    expect(find(mixed, "d").links.map(({ used }) => used)).toEqual([false, false]);
    expect(mixed.findings[0]?.text).toMatch(/different drivers \(arm,smmu-v3, arm,smmu\)/);
  });
});

describe("PCI functions of a device tree", () => {
  const host = (more: string) =>
    `pcie@40000000 { device_type = "pci"; #address-cells = <3>; #size-cells = <2>; ${more} };`;

  it("have the IDs that the map of their host gives them", () => {
    const topology = board(
      `${a} ${host(`linux,pci-domain = <3>; iommu-map = <0 &a 0x1000 0x100>;
      dma@2,1 { reg = <0x1100 0 0 0 0>; compatible = "pci1af4,1041"; };
      bridge@3,0 { device_type = "pci"; #address-cells = <3>; #size-cells = <2>; reg = <0x1800 0 0 0 0>; ranges;
        nic@0,0 { reg = <0 0 0 0 0>; }; };`)}`,
    );
    expect(find(topology, "0003:00:02.1")).toMatchObject({
      bus: "pci",
      requesterId: 0x11,
      domain: 3,
      pci: { vendor: 0x1af4, device: 0x1041 },
      links: [{ iommu: "/iommu@1000000", ids: [{ first: 0x1011, count: 1 }] }],
    });
    // Nobody has numbered the bus behind the bridge, but all of the host is behind one IOMMU.
    expect(find(topology, "nic@0,0")).toMatchObject({ requesterId: undefined, domain: 3 });
    expect(find(topology, "nic@0,0").links).toMatchObject([{ iommu: "/iommu@1000000", ids: [], used: true }]);
  });

  it("have what the host's map says, not their own iommus", () => {
    const topology = board(
      `${a} ${b} ${host(`linux,pci-domain = <0>; iommu-map = <0 &a 0 0x10000>;
      dma@2,0 { reg = <0x1000 0 0 0 0>; iommus = <&b 7>; };`)}`,
    );
    expect(find(topology, "0000:00:02.0").links.map(({ via, used }) => [via, used])).toEqual([
      ["iommus", false],
      ["iommu-map", true],
    ]);
  });

  it("are named after their nodes where the tree does not number domains", () => {
    const topology = board(`${a} ${host("iommu-map = <0 &a 0 0x10000>; dma@2,0 { reg = <0x1000 0 0 0 0>; };")}`);
    expect(find(topology, "dma@2,0")).toMatchObject({ domain: undefined, requesterId: 0x10 });
  });
});

describe("coherence", () => {
  const coherence = (topology: Topology) =>
    [...topology.iommus, ...topology.devices].map(({ name, coherent }) => [name, coherent]);

  it("is what the nearest dma-coherent or dma-noncoherent on the way up says", () => {
    const topology = board(`${iommu("a", "1000000", 1, "dma-coherent;")} ${b}
      soc { compatible = "simple-bus"; dma-coherent; ${device("in", "iommus = <&a 1>;")}
        ${device("not", "iommus = <&a 2>; dma-noncoherent;")} };
      ${device("out", "iommus = <&b 3>;")} ${device("both", "iommus = <&b 4>; dma-coherent; dma-noncoherent;")}`);
    expect(coherence(topology)).toEqual([
      ["smmu3.0x0000000001000000", true],
      ["smmu3.0x0000000002000000", false],
      ["soc:in", true],
      ["soc:not", false],
      ["out", false],
      ["both", true],
    ]);
  });

  it("follows dma-mem, and nothing in circles", () => {
    const topology = board(`${a} ring: ring { #interconnect-cells = <1>; dma-coherent; };
      ${device("far", 'iommus = <&a 1>; interconnects = <&ring 1>; interconnect-names = "dma-mem";')}
      ${device("other", 'iommus = <&a 2>; interconnects = <&ring 1>; interconnect-names = "read";')}
      ${device("lost", 'iommus = <&a 3>; interconnects = <0x999 1>; interconnect-names = "dma-mem";')}
      self: self { #interconnect-cells = <0>; iommus = <&a 4>; interconnects = <&self>; interconnect-names = "dma-mem"; };`);
    expect(topology.devices.map(({ name, coherent }) => [name, coherent])).toEqual([
      ["far", true],
      ["other", false],
      ["lost", false],
      ["self", false],
    ]);
  });

  it("is RISC-V's default, and a PCI function's is its host's", () => {
    const riscv = board(`cpus { #address-cells = <1>; #size-cells = <0>; cpu@0 { compatible = "riscv"; reg = <0>; }; };
      ${iommu("a", "1000000", 1, "", "riscv,iommu")} ${device("d", "iommus = <&a 1>;")}`);
    expect(coherence(riscv)).toEqual([
      ["riscv-iommu@1000000.iommu", true],
      ["d", true],
    ]);
    const pci = board(`${a} pcie@40000000 { device_type = "pci"; #address-cells = <3>; #size-cells = <2>; dma-coherent;
      linux,pci-domain = <0>; iommu-map = <0 &a 0 0x10000>; dma@2,0 { reg = <0x1000 0 0 0 0>; dma-noncoherent; }; };`);
    expect(find(pci, "0000:00:02.0").coherent).toBe(true);
  });
});

describe("names", () => {
  it("are the kernel's in sysfs, and in its log", () => {
    const { iommus } = board(`${a} ${iommu("b", "2000000", 1, "", "mediatek,mt8195-iommu-vdo")}
      ${iommu("c", "3000000", 1, "", "mediatek,mt2701-m4u")} ${iommu("d", "4000000", 1, "", "apple,t8103-dart")}
      virtio_mmio@5000000 { compatible = "virtio,mmio"; reg = <0 0x5000000 0 0x200>; };
      ${iommu("e", "6000000", 1, "", "virtio,pci-iommu")}`);
    expect(iommus.map(({ name, device: called }) => [name, called])).toEqual([
      ["smmu3.0x0000000001000000", "1000000.iommu"],
      ["mtk-iommu.0x0000000002000000", "2000000.iommu"],
      ["3000000.iommu", "3000000.iommu"],
      ["apple-dart.4000000.iommu", "4000000.iommu"],
      ["6000000.iommu", undefined],
    ]);
  });

  it("have aliases", () => {
    const { aliases } = board('aliases { dma0 = "/soc/dma"; sub = "dma0/x"; lost = "nothing/x"; }; soc {};');
    expect(aliases).toEqual(
      new Map([
        ["dma0", "/soc/dma"],
        ["sub", "/soc/dma/x"],
      ]),
    );
  });
});

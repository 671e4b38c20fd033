import { describe, expect, it } from "vitest";
import type { PlatformDescription } from "../../../src/sim/linux/description.js";
import { refused } from "../../devicetree/refused.js";
import { board, chipSource, deviceOf, read } from "./board.js";

const port = (properties: string, rest = "") =>
  board(`${rest} port: dma@9030000 { compatible = "acme,dma", "acme"; reg = <0 0x9030000 0 0x1000>; ${properties} };`);
const portOf = (properties: string, rest?: string) =>
  deviceOf(read(port(properties, rest)), "9030000.dma") as PlatformDescription;
const BEHIND = "iommus = <&smmu 0x42>;";

describe("a platform device of a chip", () => {
  it("has the name, registers, StreamID and model of its node", () => {
    expect(portOf(BEHIND)).toMatchObject({
      bus: "platform",
      name: "9030000.dma",
      iommu: "smmu3.0x000000000c000000",
      streamId: 0x42,
      compatible: ["acme,dma", "acme"],
      resources: [{ start: 0x9030000, size: 0x1000 }],
      interrupts: [],
      msiIsolated: false,
      resetHandler: false,
      reserved: [],
    });
    expect(portOf(`${BEHIND} iospan,vfio-reset;`).resetHandler).toBe(true);
  });

  it("is there if an IOMMU is in front of it or its registers are simulated", () => {
    const rest = `a@1000 { compatible = "x"; reg = <0 0x1000 0 0x1000>; };
      b@2000 { compatible = "iospan,edu"; reg = <0 0x2000 0 0x1000>; };
      c@3000 { reg = <0 0x3000 0 0x1000>; iommus = <&smmu 1>; };
      off { status = "disabled"; compatible = "simple-bus"; ranges; d@4000 { compatible = "iospan,edu"; reg = <0 0x4000 0 0x1000>; }; };
      bus { compatible = "simple-bus"; #address-cells = <2>; #size-cells = <2>; ranges;
        e@5000 { compatible = "y"; reg = <0 0x5000 0 0x1000>; iommus = <&smmu 2>; };
        f { compatible = "y"; iommus = <&smmu 3>; }; };
      nobus { #address-cells = <2>; #size-cells = <2>; ranges; g@6000 { compatible = "iospan,edu"; reg = <0 0x6000 0 0x1000>; }; };`;
    const names = read(board(rest)).devices.map(({ description }) => description.name);
    expect(names).toEqual(["2000.b", "5000.e", "bus:f"]);
  });

  it("has interrupts of two kinds", () => {
    const interrupts = (property: string) => portOf(`${BEHIND} ${property}`).interrupts;
    expect(interrupts("interrupts = <0 1 1>, <0 2 2>, <0 3 4>, <1 4 8>;")).toEqual(["edge", "edge", "level", "level"]);
    expect(interrupts("interrupts-extended = <&gic 0 1 4>, <&gic 0 2 1>;")).toEqual(["level", "edge"]);
    const own = "pic: pic { #interrupt-cells = <2>; interrupt-controller; };";
    expect(portOf(`${BEHIND} interrupt-parent = <&pic>; interrupts = <1 1>;`, own).interrupts).toEqual(["edge"]);
    const one = "pic: pic { #interrupt-cells = <1>; interrupt-controller; };";
    expect(portOf(`${BEHIND} interrupt-parent = <&pic>; interrupts = <1>;`, one).interrupts).toEqual(["level"]);
  });

  it("has isolated messages if they go to an ITS", () => {
    expect(portOf(`${BEHIND} msi-parent = <&its 1>;`).msiIsolated).toBe(true);
    const v2m = 'v2m: v2m { compatible = "arm,gic-v2m-frame"; msi-controller; };';
    expect(portOf(`${BEHIND} msi-parent = <&v2m>;`, v2m).msiIsolated).toBe(false);
    expect(refused(() => portOf(`${BEHIND} msi-parent = <99>;`))).toMatch(/\/dma@9030000: msi-parent refers/);
  });

  it("keeps addresses for itself", () => {
    const regions = `reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;
      a: a { iommu-addresses = <&port 0 0x10000000 0 0x1000>, <&gic 0 0 0 1>, <&port 0x10 0 0 0x2000>; };
      b: b@50000000 { reg = <0 0x50000000 0 0x1000>; iommu-addresses = <&port 0 0x50000000 0 0x1000>; };
      c: c@51000000 { reg = <0 0x51000000 0 0x1000>; iommu-addresses = <&port 0 0x52000000 0 0x1000>; };
      d: d@52000000 { reg = <0 0x52000000 0 0x1000>; }; };`;
    expect(portOf(`${BEHIND} memory-region = <&a &b &c &d>;`, regions).reserved).toEqual([
      { start: 0x1000_0000, end: 0x1000_0fff, type: "reserved" },
      { start: 0x10_0000_0000, end: 0x10_0000_1fff, type: "reserved" },
      { start: 0x5000_0000, end: 0x5000_0fff, type: "direct" },
      { start: 0x5200_0000, end: 0x5200_0fff, type: "reserved" },
    ]);
    const chip = read(chipSource("unequal-reserved"));
    expect(deviceOf(chip, "0000:01:00.0").reserved).toEqual([
      { start: 0x4000_0000, end: 0x4fff_ffff, type: "reserved" },
    ]);
    expect(deviceOf(chip, "9030000.dma-port").reserved).toEqual([
      { start: 0x1000_0000, end: 0x100f_ffff, type: "reserved" },
    ]);
  });

  it.each([
    ["<&port 0 0x10000000 0>", /iommu-addresses ends within the address and size for \/dma@9030000/],
    ["<77 0 1 0 1>", /does not begin with the phandle of a device/],
    ["<&port 0 1 0 0>", /has a size of 0 for \/dma@9030000/],
    ["<&port 0xffffffff 0 0 1>", /reaches to 0xffffffff00000000/],
  ])("does not keep addresses %s", (addresses, message) => {
    const regions = `reserved-memory { a: a { iommu-addresses = ${addresses}; }; };`;
    expect(refused(() => portOf(`${BEHIND} memory-region = <&a>;`, regions))).toMatch(message);
  });

  it("has a way to memory that is as fast as its node says", () => {
    expect(portOf(BEHIND)).not.toHaveProperty("link");
    expect(portOf(`${BEHIND} iospan,bandwidth-kBps = <8000000>; iospan,latency-ns = <300>;`).link).toEqual({
      bandwidth: 8e9,
      latency: 300,
    });
    expect(portOf(`${BEHIND} iospan,latency-ns = <300>;`).link).toEqual({
      bandwidth: Number.POSITIVE_INFINITY,
      latency: 300,
    });
  });

  it("is untranslated behind an SMMU that is disabled", () => {
    const off = 'off: iommu@d000000 { compatible = "arm,smmu-v3"; #iommu-cells = <1>; status = "disabled"; };';
    expect(portOf("iommus = <&off 1>;", off)).not.toHaveProperty("iommu");
  });

  it.each([
    ["iommus = <&smmu>;", /\/dma@9030000: iommus ends after 0 of the 1 cells that follow \/iommu@c000000/],
    ["iommus = <&smmu 1 0x77>;", /\/dma@9030000: iommus refers to phandle 0x77, which no node has/],
    ["iommus = <0x1234 1>;", /\/dma@9030000: iommus refers to phandle 0x1234, which no node has/],
    [
      "iommus = <&smmu 0x10000>;",
      /\/dma@9030000: iommus leads to StreamID 0x10000, and StreamIDs of \/iommu@c000000 have 16 bits/,
    ],
    ["iommus = <&smmu 1>, <&smmu 2>;", /\/dma@9030000: iommus has several StreamIDs/],
    [
      "iommus = <&other 1>;",
      /\/dma@9030000: iommus leads to \/other, which is arm,smmu-v2: only arm,smmu-v3 is simulated/,
    ],
    [`${BEHIND} interrupts = <0 1>;`, /\/dma@9030000: interrupts has 2 cells, which are no whole interrupts of 3/],
    [`${BEHIND} interrupt-parent = <99>; interrupts = <0 1 4>;`, /interrupt-parent refers to phandle 0x63/],
    ["reg = <0 0x9030000 0 0>;", /\/dma@9030000: reg has a range of size 0/],
  ])("is refused with %s", (properties, message) => {
    const other = 'other: other { compatible = "arm,smmu-v2"; #iommu-cells = <1>; };';
    const node = properties.startsWith("reg") ? `dma@9030000 { compatible = "x"; ${properties} ${BEHIND} };` : "";
    const source = node === "" ? port(properties, other) : board(node);
    expect(refused(() => read(source))).toMatch(message);
  });
});

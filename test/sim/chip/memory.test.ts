import { describe, expect, it } from "vitest";
import { refused } from "../../devicetree/refused.js";
import { board, chipSource, edited, read } from "./board.js";

const REG = "reg = <0 0x40000000 0 0x40000000>";
const withMemory = (properties: string, rest = "") => edited(board(rest), [`${REG};`, properties]);

describe("the memory of a chip", () => {
  it("is in banks, of one node or several", () => {
    expect(read(board("")).memory).toEqual([{ start: 0x4000_0000, size: 0x4000_0000 }]);
    const more = 'memory@880000000 { device_type = "memory"; reg = <0x8 0x80000000 0x1 0>, <0x10 0 0 0x100000>; };';
    expect(read(board(more)).memory.slice(1)).toEqual([
      { start: 0x8_8000_0000, size: 0x1_0000_0000 },
      { start: 0x10_0000_0000, size: 0x10_0000 },
    ]);
  });

  it("is without what is reserved, in whole pages", () => {
    const reserved = `reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;
      a@40000000 { reg = <0 0x40000000 0 0x1000>; }; b { size = <0 0x1000>; };
      c@50000000 { reg = <0 0x50000000 0 0x10000>; }; d@60000000 { reg = <0 0x60000000 0 0x10000>; status = "disabled"; };
      e@7fff0000 { reg = <0 0x7fff0000 0 0x1000000>; }; };`;
    const source = edited(board(reserved), [
      "/dts-v1/;",
      "/dts-v1/; /memreserve/ 0x48000000 0x20000; /memreserve/ 0 0;",
    ]);
    expect(read(source).memory).toEqual([
      { start: 0x4001_0000, size: 0x7ff_0000 },
      { start: 0x4802_0000, size: 0x7fe_0000 },
      { start: 0x5001_0000, size: 0x2ffe_0000 },
    ]);
  });

  it("has a speed, if one is given", () => {
    expect(read(board("")).interconnect).toEqual({});
    expect(read(chipSource("dual-smmu")).interconnect).toEqual({ memoryBandwidth: 51.2e9, walkLatency: 60 });
    const wide = withMemory(`${REG}; iospan,bandwidth-kBps = <1 0>;`);
    expect(read(wide).interconnect).toEqual({ memoryBandwidth: 2 ** 32 * 1000 });
  });

  it.each([
    ["reg = <0 0x40000000 0 0>;", /\/memory@40000000: reg has a bank of size 0/],
    ["", /\/memory@40000000: reg is missing/],
    ["reg;", /\/memory@40000000: reg is empty/],
    ["reg = <0 0x40000000 0>;", /\/memory@40000000: reg has 3 cells/],
    ["reg = <0x100000 0 0 0x1000>;", /\/memory@40000000: reg has 0x10000000000000 .* exceeds 52 bits/],
    [
      "reg = <0 0x40000000 0 0x2000>, <0 0x40001000 0 0x1000>;",
      /its memory at 0x40001000 lie where memory of \/memory@40000000/,
    ],
    [`${REG}; iospan,bandwidth-kBps = <0>;`, /\/memory@40000000: iospan,bandwidth-kBps is 0/],
  ])("cannot be %s", (properties, message) => {
    expect(refused(() => read(withMemory(properties)))).toMatch(message);
  });

  it("must be there", () => {
    const source = edited(board(""), ['device_type = "memory";', ""]);
    expect(refused(() => read(source))).toMatch(/\/: there is no memory/);
  });

  it("has one speed", () => {
    const other = `memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x1000>; iospan,walk-latency-ns = <5>; };`;
    const source = withMemory(`${REG}; iospan,walk-latency-ns = <6>;`, other);
    expect(refused(() => read(source))).toMatch(/\/memory@40000000 and \/memory@80000000: differ/);
  });

  it("does not lie where registers are", () => {
    const port = 'dma@40001000 { compatible = "x"; reg = <0 0x40001000 0 0x1000>; iommus = <&smmu 1>; };';
    expect(refused(() => read(board(port)))).toMatch(
      /\/dma@40001000: its registers at 0x40001000 lie where memory of \/memory@40000000/,
    );
    const two = edited(chipSource("dual-smmu"), ["0x0c020000 0x0", "0x0c010000 0x0"]);
    expect(refused(() => read(two))).toMatch(
      /\/iommu@c020000: its registers at 0xc010000 lie where registers of \/iommu@c000000/,
    );
  });
});

import { describe, expect, it } from "vitest";
import { refused } from "../../devicetree/refused.js";
import { board, chipSource, edited, read } from "./board.js";

const smmu = (properties: string) => read(board("", properties)).smmus[0]?.description;

describe("an SMMU of a chip", () => {
  it("has the names that Linux gives it", () => {
    expect(smmu("")).toMatchObject({
      name: "smmu3.0x000000000c000000",
      device: "c000000.iommu",
      registers: 0xc000000,
      streamIdBits: 16,
      pageSizes: 0x40201000n,
      rangeInvalidation: true,
      httu: false,
    });
    for (const absent of ["stage", "outputBits", "inputBits", "tlbEntries"])
      expect(smmu("")).not.toHaveProperty(absent);
  });

  it("has what its properties say", () => {
    const properties = `iospan,granules-kib = <4 16 64>; iospan,stage = <2>; iospan,output-bits = <40>; iospan,input-bits = <39>;
      iospan,stream-id-bits = <20>; iospan,no-range-invalidation; iospan,tlb-entries = <64>; iospan,httu;`;
    expect(smmu(properties)).toMatchObject({
      pageSizes: 0x6221_5000n,
      stage: 2,
      outputBits: 40,
      inputBits: 39,
      streamIdBits: 20,
      rangeInvalidation: false,
      tlbEntries: 64,
      httu: true,
    });
  });

  it("is coherent if it or a bus above it is", () => {
    expect(smmu("")?.coherent).toBe(false);
    expect(smmu("dma-coherent;")?.coherent).toBe(true);
    const root = edited(board(""), ["/ {", "/ { dma-coherent;"]);
    expect(read(root).smmus[0]?.description.coherent).toBe(true);
  });

  it("is coherent or not as the nearest node says", () => {
    const below = (root: string, own: string) =>
      read(edited(board("", own), ["/ {", `/ { ${root}`])).smmus[0]?.description.coherent;
    expect(below("dma-coherent;", "dma-noncoherent;")).toBe(false);
    expect(below("dma-noncoherent;", "dma-coherent;")).toBe(true);
    expect(below("dma-noncoherent;", "")).toBe(false);
    // of_dma_is_coherent asks for dma-coherent first.
    expect(below("", "dma-noncoherent; dma-coherent;")).toBe(true);
  });

  it("may be on a bus with addresses of its own", () => {
    const source = edited(
      board(""),
      [
        "smmu: iommu@c000000",
        'soc { compatible = "simple-bus"; #address-cells = <1>; #size-cells = <1>; ranges = <0x1000 0x1 0x2000 0x100000>; smmu: iommu@1000',
      ],
      ["reg = <0 0xc000000 0 0x20000>", "reg = <0x1000 0x20000>"],
      ["<1>;  };", "<1>; }; };"],
    );
    expect(read(source).smmus[0]?.description).toMatchObject({
      name: "smmu3.0x0000000100002000",
      device: "100002000.iommu",
    });
  });

  it.each([
    ["#iommu-cells = <2>;", /\/iommu@c000000: #iommu-cells should be 1/],
    ["iospan,granules-kib = <8>;", /granules-kib should be one or more of 4, 16 and 64/],
    ["iospan,granules-kib = <>;", /granules-kib should be/],
    ["iospan,stage = <3>;", /stage is 3, and should be one of 1, 2/],
    ["iospan,output-bits = <52>;", /output-bits is 52, for which iospan,granules-kib must have 64/],
    ["iospan,tlb-entries = <100>;", /tlb-entries is 100, and should be one of 8, 16/],
    ["iospan,output-bits = <39>;", /output-bits is 39, and should be one of 32, 36/],
    ["iospan,input-bits = <53>;", /input-bits is 53, and should be 32 to 52/],
    ["iospan,stream-id-bits = <33>;", /stream-id-bits is 33/],
  ])("cannot have %s", (property, message) => {
    const source = property.startsWith("#")
      ? edited(board(""), ["#iommu-cells = <1>;", property])
      : board("", property);
    expect(refused(() => read(source))).toMatch(message);
  });

  it("needs its registers", () => {
    const source = edited(board(""), ["0xc000000 0 0x20000", "0xc000000 0 0x10000"]);
    expect(refused(() => read(source))).toMatch(/\/iommu@c000000: reg should be at least 0x20000 bytes/);
  });

  it("must be there, and enabled", () => {
    expect(refused(() => read(board("", 'status = "disabled";')))).toMatch(
      /no enabled node is compatible with arm,smmu-v3/,
    );
  });

  it("of the package's chips differ where they should", () => {
    const descriptions = (name: string) => read(chipSource(name)).smmus.map(({ description }) => description);
    expect(descriptions("unequal-granules").map(({ pageSizes }) => pageSizes)).toEqual([0x6021_1000n, 0x2001_0000n]);
    expect(descriptions("unequal-aperture").map(({ inputBits }) => inputBits)).toEqual([48, 39]);
    expect(descriptions("one-smmu").map(({ streamIdBits }) => streamIdBits)).toEqual([17]);
    expect(descriptions("three-iommus")).toHaveLength(3);
  });
});
